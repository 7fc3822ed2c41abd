//! Pictures of the dashboards, from the gate's run: each panel of each of them must be drawn. Whether they are readable is for
//! people to judge, and so is not tested. It takes minutes, Chromium and half a gigabyte of packages, so it is a target of its
//! own, which only `scripts/preview` names.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

#[path = "../program/process.rs"]
#[expect(dead_code, reason = "another test's module, of which this one needs a part")]
mod process;
#[expect(dead_code, reason = "the gate asks more")]
mod prometheus;
mod world;

use process::LONG;
use prometheus::Prometheus;
use quebert_dashboards::check::Question;
use std::{path::Path, time::Duration};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use world::World;

/// Long enough for lines to have a shape.
const MINUTES: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_can_be_drawn() {
    let world = World::start().await;
    let prometheus = Prometheus::start(&world.targets(), world.rabbit()).await;
    prometheus.seen_enough(&world).await;
    looked_on(&prometheus, Duration::from_secs(MINUTES * 60)).await;

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let args = ["--from", &format!("now-{MINUTES}m"), "--interval", "5s", "--out", "target/preview"];
    let status = Command::new("node")
        .args(["dashboards/preview/draw.mjs", "--prometheus", &prometheus.url()])
        .args(args)
        .current_dir(root)
        .kill_on_drop(true)
        .status();
    assert!(status.await.unwrap().success(), "what could not be drawn is said above");
    world.stop().await;
}

/// Waits until the dispatchers have been up for so long, as Prometheus knows it.
async fn looked_on(prometheus: &Prometheus, time: Duration) {
    let query = format!("time() - process_start_time_seconds{{job=\"quebert\"}} >= {}", time.as_secs());
    let question = Question { path: "/api/v1/query".to_owned(), query: vec![("query", query)] };
    let looked_on = timeout(time + LONG, async {
        while prometheus.ask(&question).await.unwrap()["result"].as_array().unwrap().is_empty() {
            sleep(Duration::from_millis(500)).await;
        }
    });
    looked_on.await.expect("dispatchers stay up");
}

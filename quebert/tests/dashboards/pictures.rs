//! Pictures of the dashboards, from the gate's run: each panel of each of them must be drawn. Whether they are readable is for
//! people to judge, and so is not tested; that is why `scripts/preview` runs this, and the gate doesn't.

use crate::{prometheus::Prometheus, world::World};
use std::{path::Path, time::Duration};
use tokio::process::Command;

/// Long enough for lines to have a shape.
const MINUTES: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, Chromium and half a gigabyte of packages: scripts/preview"]
async fn every_panel_can_be_drawn() {
    let world = World::start().await;
    let prometheus = Prometheus::start(&world.targets(), world.rabbit()).await;
    prometheus.seen_enough(&world).await;
    prometheus.looked_on_for(Duration::from_secs(MINUTES * 60)).await;

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

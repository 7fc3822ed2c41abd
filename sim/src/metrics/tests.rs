//! What a scrape of a run shows, and that promtool takes it.

use super::*;
use crate::{
    case::{Fault, scenario},
    net::Down,
    run::{self, Options, Setup},
};
use std::process::Command;

/// Half a minute of work, in which a dispatcher is down for a while.
fn text() -> String {
    let mut case = scenario::named("quiet").map(|scenario| (scenario.case)()).expect("it is there");
    case = case.stretched(Duration::from_secs(120), Some(2.0));
    let kind = FaultKind::Down { host: Host::Dispatcher(1), how: Down::Kill };
    case.faults = vec![Fault { at_ms: 40_000, for_ms: 25_000, kind }];
    let report = run::run(&case, &Setup::default(), &Options::default());
    assert_eq!(report.violations, []);
    let mut text = Vec::new();
    scrape(&case, &report.entries).write(&mut text).expect("memory takes everything");
    String::from_utf8(text).expect("text")
}

/// The values of a series, in order of time.
fn values(text: &str, series: &str) -> Vec<f64> {
    let of = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    of.map(|rest| rest.split(' ').next().expect("a value").parse().expect("a number")).collect()
}

#[test]
fn a_dispatcher_that_is_down_is_not_up_and_its_counters_begin_anew() {
    let text = text();
    let up = values(&text, r#"up{job="quebert",instance="dispatcher-1:9464"}"#);
    assert_eq!(up[..7], [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0], "at 0, 15, .. 90 s");
    assert!(values(&text, r#"up{job="quebert",instance="dispatcher-2:9464"}"#).iter().all(|up| *up == 1.0));
    let succeeded = |host: &str, queue: &str| {
        let labels = format!(r#"job="quebert",instance="{host}:9464",queue="{queue}",result="succeeded""#);
        values(&text, &format!("quebert_settlements_total{{{labels}}}"))
    };
    let high = succeeded("dispatcher-1", "high");
    assert!(high.windows(2).any(|two| two[1] < two[0]), "{high:?}");
    let other = succeeded("dispatcher-2", "high");
    assert!(other.is_sorted() && other.last() > Some(&0.0), "{other:?}");
}

#[test]
fn time_is_virtual_and_begins_with_the_world() {
    let text = text();
    let first = text.lines().find(|line| line.starts_with("up{")).expect("there is one");
    assert!(first.ends_with(" 1767225600.000"), "{first}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_waits_at_the_broker_is_told_by_every_dispatcher() {
    let text = text();
    let consumers = |host: &str| {
        let labels = format!(r#"job="quebert",instance="{host}:9464",queue="high""#);
        values(&text, &format!("quebert_queue_consumers{{{labels}}}"))
    };
    assert!(consumers("dispatcher-2").contains(&2.0), "{:?}", consumers("dispatcher-2"));
    assert!(consumers("dispatcher-2").contains(&1.0), "{:?}", consumers("dispatcher-2"));
}

#[test]
fn promtool_makes_blocks_of_it() {
    let folder = std::env::temp_dir().join(format!("quebert-sim-metrics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, blocks) = (folder.join("run.om"), folder.join("blocks"));
    std::fs::write(&file, text()).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &blocks])
        .output()
        .expect("this test needs promtool: install Prometheus (Debian: apt-get install prometheus)");
    let said = format!("{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    let blocks = std::fs::read_dir(&blocks).map_or(0, Iterator::count);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(made.status.success() && blocks > 0, "{said}");
}

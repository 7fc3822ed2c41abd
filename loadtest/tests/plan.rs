//! The program from its command line: a short real run, and a plan from its report, as somebody does it who is new to both.
//! Whether the run was good enough to plan with depends on the machine; that the plan says so does not.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::{plan::Plan, report::Report};
use std::{fs, path::Path, process::Command};

fn tester(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_quebert-loadtest")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_report_of_a_run_becomes_a_plan_that_says_what_it_rests_on() {
    let folder = std::env::temp_dir().join(format!("quebert-loadtest-plan-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (report, plan) = (path("report.json"), path("plan.json"));
    let program = quebert();
    let (code, _, told) = tester(&[
        "run",
        "--arrivals=constant 10/s 1s then constant 40/s 2s",
        "--executor=latency=20ms",
        "--queue=name=load slots=8",
        "--settle=5m",
        &format!("--quebert={}", program.display()),
        &format!("--json={report}"),
        "--quiet",
    ]);
    // A busy machine makes it invalid.
    assert!(matches!(code, 0 | 3), "{code}: {told}");

    let small = ["--tasks=1k", "--dispatchers-max=1", "--slo=done.p99<1m"];
    let planned = |more: &[&str]| tester(&[&["plan", &report], &small[..], more].concat());
    let (code, shown, told) = planned(&["--json", &plan]);
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap();
    let measured = serde_json::from_str::<Report>(&read(&report)).unwrap();
    let plan = serde_json::from_str::<Plan>(&read(&plan)).unwrap();
    let calibrated = plan.calibrated.unwrap();
    assert_eq!(calibrated.started_at_ms, measured.started_at_ms);
    assert_eq!(
        (plan.rate, plan.executors),
        (40.0, measured.profile.executors),
        "the busiest phase, the same executors"
    );
    assert!(calibrated.cpu_per_attempt_s > 0.0 && calibrated.rss_bytes > 1 << 20, "{calibrated:?}");
    assert_eq!(plan.recommended.unwrap().dispatchers, 1);
    assert_eq!(code, if calibrated.doubts.is_empty() { 0 } else { 3 }, "{shown}{told}");
    assert!(calibrated.doubts.iter().all(|doubt| shown.contains(doubt)), "{shown}");
    assert!(measured.validity.valid || code == 3, "{shown}");
    assert!(shown.contains("calibrated by the run of 20"), "{shown}");

    // What is said on the command line outweighs what was measured.
    let (_, shown, _) = planned(&["--rate=80/s", "--attempt-extra=7ms"]);
    assert!(shown.starts_with("Plan for 80/s") && shown.contains("7.0 ms to an attempt"), "{shown}");
    let (code, _, told) = tester(&["plan", &path("none.json")]);
    assert!(code == 4 && told.contains("none.json"), "{code}: {told}");
    fs::remove_dir_all(&folder).unwrap();
}

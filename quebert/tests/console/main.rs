//! The web console in headless Chromium, driven by Playwright: what the scripts beside this file check. Nothing of the
//! console is checked here. With `CONSOLE_JITTER=7` all timing is hostile, 7 being a seed: see jitter.mjs.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::testing::PrivateRabbit;
use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// One browser at a time: each would slow the others down.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a script to its end, with a broker of its own or with this one. Its report is TAP, and stands in the failure: with
/// what pages that were left open show and have said, the last of the program's log, and the seed where there is one.
#[track_caller]
fn passes(script: &str, broker: Option<&str>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    let playwright = tests.join("../../../target/peers/node_modules/playwright-core/package.json");
    assert!(playwright.exists(), "{} is missing: run scripts/setup first", playwright.display());
    let mut command = Command::new("node");
    command.arg(tests.join(script)).env("QUEBERT", env!("CARGO_BIN_EXE_quebert")).env_remove("QUEBERT_CONFIG");
    command.env_remove("BROKER").envs(broker.map(|url| ("BROKER", url)));
    let output = command.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}:\n{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\n# fail 0\n") && !report.contains("\n# pass 0\n"), "{script} ran nothing:\n{report}");
}

#[test]
fn every_view_fits_and_can_be_read_and_reached() {
    passes("looks.mjs", None);
}

#[test]
fn hostile_content_stays_text() {
    passes("hostile.mjs", None);
}

#[test]
fn faults_tokens_and_crowds_are_stood() {
    passes("faults.mjs", None);
}

#[test]
fn what_is_shown_is_what_was_asked_for_last() {
    passes("late.mjs", None);
}

#[test]
fn what_is_clicked_happens_in_the_real_program() {
    passes("live.mjs", None);
}

#[tokio::test]
async fn it_is_the_same_with_rabbitmq_but_for_what_that_cannot_tell() {
    let node = PrivateRabbit::start().await.unwrap();
    passes("rabbitmq.mjs", Some(&node.url()));
}

//! The web console in headless Chromium, driven by Playwright: what the scripts beside this file check. Nothing of the
//! console is checked here.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

/// One browser at a time: each would slow the others down.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a script to its end. Its report is TAP, and stands in the failure.
#[track_caller]
fn passes(script: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    let playwright = tests.join("../../../target/peers/node_modules/playwright-core/package.json");
    assert!(playwright.exists(), "{} is missing: run scripts/setup first", playwright.display());
    let mut command = Command::new("node");
    command.arg(tests.join(script)).env("QUEBERT", env!("CARGO_BIN_EXE_quebert")).env_remove("QUEBERT_CONFIG");
    let output = command.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}:\n{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\n# fail 0\n") && !report.contains("\n# pass 0\n"), "{script} ran nothing:\n{report}");
}

#[test]
fn every_view_fits_and_can_be_read_and_reached() {
    passes("looks.mjs");
}

#[test]
fn hostile_content_stays_text() {
    passes("hostile.mjs");
}

#[test]
fn faults_tokens_and_crowds_are_stood() {
    passes("faults.mjs");
}

#[test]
fn what_is_clicked_happens_in_the_real_program() {
    passes("live.mjs");
}

//! Every scenario gives the same bytes again: in this process, and in two others that know little of the machine or much
//! of another one, in both worlds. And what makes that so is nowhere left out.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs `quebert-sim meta`.
fn meta(arguments: &[&str]) -> (Output, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_quebert-sim")).arg("meta").args(arguments).output().expect("it can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

#[test]
fn every_scenario_runs_the_same_way_in_the_fast_world() {
    let (output, text) = meta(&["--world", "fast", "--seeds", "5"]);
    assert!(output.status.success(), "{text}");
}

#[test]
fn every_scenario_runs_the_same_way_in_turmoil() {
    let (output, text) = meta(&["--world", "turmoil", "--seeds", "2"]);
    assert!(output.status.success(), "{text}");
}

#[test]
fn another_seed_is_another_run() {
    let (output, text) = meta(&["--scenario", "quiet", "--seeds", "0", "--negative-control"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("DIFFERS in one that goes backward"), "{text}");
}

#[test]
fn every_select_says_which_branch_goes_first() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = 0;
    for folder in ["sim/src", "dispatcher/src", "broker-adapter/src/http", "broker-adapter/src/queue"] {
        each_file(&root.join(folder), &mut |path, text| {
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.ends_with("select! {")) {
                let next = lines.get(at + 1);
                assert_eq!(next, Some(&"biased;"), "{}:{}: {line}", path.display(), at + 1);
                found += 1;
            }
        });
    }
    assert!(found >= 5, "{found} of them: is it looking in the right place?");
}

fn each_file(path: &Path, look: &mut impl FnMut(&Path, &str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            each_file(&entry.expect("a file").path(), look);
        }
    } else if path.extension().is_some_and(|end| end == "rs") {
        look(path, &fs::read_to_string(path).expect("text"));
    }
}

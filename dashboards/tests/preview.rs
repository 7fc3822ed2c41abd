//! What can be said of `preview/` without its half gigabyte of packages: that its scripts are JavaScript and shell, and that somebody
//! draws each type of panel there is. Pictures are `scripts/preview`'s business.

use quebert_dashboards::{Bundle, Settings};
use std::{collections::BTreeSet, path::Path, process::Command};

#[test]
fn its_scripts_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in ["draw.mjs", "ask.mjs", "disaster.mjs"] {
        check(Command::new("node").arg("--check").arg(root.join("preview").join(script)));
    }
    check(Command::new("bash").arg("-n").arg(root.join("../scripts/preview")));
}

#[test]
fn each_type_of_panel_is_drawn() {
    let drawn = include_str!("../preview/page/panel.jsx");
    let types = drawn.lines().find(|line| line.starts_with("const TYPES = ")).expect("it says what it draws");
    let boards = Bundle::new(&Settings::default()).boards;
    let panels = boards.iter().flat_map(|board| board["panels"].as_array().expect("panels"));
    let used = panels.map(|panel| panel["type"].as_str().expect("a type")).collect::<BTreeSet<_>>();
    assert!(used.len() > 1, "{used:?}");
    for kind in used {
        assert!(types.contains(&format!("{kind}: ")) || types.contains(&format!("'{kind}': ")), "nobody draws {kind}");
    }
}

#[track_caller]
fn check(command: &mut Command) {
    let out = command.output().expect("it starts: run scripts/setup");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

//! The dashboards against Grafana's own types, by its TypeScript compiler. Types know keys and their values; what a query
//! asks, they don't.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_dashboards::{Bundle, Settings};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn dashboards_have_grafanas_types_and_no_others() {
    let boards = Bundle::new(&Settings::default()).boards;
    let (well, said) = compile("good", &boards);
    assert!(well, "{said}");

    // All in one go, since the compiler takes seconds: each of these must be in what it says.
    let mut wrong = Vec::new();
    for spoil in SPOILT {
        let mut board = boards[0].clone();
        let (path, value) = spoil;
        *board.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}")) = json!(value);
        wrong.push(board);
    }
    let mut unknown = boards[0].clone();
    unknown["panels"][6]["options"]["legends"] = json!({});
    wrong.push(unknown);
    let (well, said) = compile("spoilt", &wrong);
    assert!(!well, "it takes everything");
    for n in 0..wrong.len() {
        assert!(said.contains(&format!("board{n}.ts")), "board {n} is spoilt, and only this was found:\n{said}");
    }
}

const SPOILT: [(&str, &str); 6] = [
    ("/editable", "no"),
    ("/panels/0/gridPos/x", "left"),
    ("/panels/0/options/graphMode", "areas"),
    ("/panels/6/options/tooltip/mode", "several"),
    ("/panels/6/fieldConfig/defaults/custom/drawStyle", "lines"),
    ("/templating/list/1/refresh", "often"),
];

/// One file a dashboard; what the compiler says names it.
fn compile(name: &str, boards: &[Value]) -> (bool, String) {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("check");
    let compiler = check.join("node_modules/typescript/bin/tsc");
    assert!(compiler.exists(), "this test needs Grafana's types: run scripts/setup");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("schema-{name}"));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    for (n, board) in boards.iter().enumerate() {
        fs::write(folder.join(format!("board{n}.ts")), source(&check, board)).unwrap();
    }
    let options = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "skipLibCheck": true, "module": "esnext", "moduleResolution": "bundler",
            "target": "es2022", "types": [], "baseUrl": check.join("node_modules"), "paths": {"*": ["./*"]},
        },
        "include": ["*.ts"],
    });
    fs::write(folder.join("tsconfig.json"), options.to_string()).unwrap();
    let out = Command::new("node")
        .arg(compiler)
        .args(["--pretty", "false", "--project", "tsconfig.json"])
        .current_dir(&folder)
        .output()
        .expect("this test needs node: run scripts/setup");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

fn source(check: &Path, board: &Value) -> String {
    let types = check.join("types");
    let mut text =
        format!("import type {{ Dashboard, Fields, Options, Query }} from {:?};\n", types.display().to_string());
    let _ = writeln!(text, "export const board: Dashboard = {board};");
    for (n, panel) in board["panels"].as_array().unwrap().iter().enumerate() {
        let (kind, options) = (&panel["type"], &panel["options"]);
        let _ = writeln!(text, "export const options{n}: Options[{kind}] = {options};");
        if let Some(custom) = panel["fieldConfig"]["defaults"].get("custom") {
            let _ = writeln!(text, "export const fields{n}: Fields[{kind}] = {custom};");
        }
        let _ = writeln!(text, "export const queries{n}: Query[] = {};", panel["targets"]);
    }
    text
}

//! The fidelity table names tests: they are there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of the workspace").to_path_buf()
}

/// Names of functions below a folder that are tests, or claims of the contract suite.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is text");
            let is_suite = path.ends_with("ports/contract/mod.rs");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                let function = line.trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn ");
                if let Some(rest) = function.filter(|_| marked || (is_suite && line.starts_with("pub async fn "))) {
                    names.extend(rest.split(['(', '<']).next().map(str::to_owned));
                }
                marked = line.starts_with("#[test]")
                    || line.starts_with("#[tokio::test")
                    || (marked && line.starts_with("#["));
            }
        }
    }
}

fn found(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    folders.iter().for_each(|folder| tests_below(&workspace().join(folder), &mut names));
    names
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let table = fs::read_to_string(workspace().join("docs/simulation-fidelity.md")).expect("the table");
    let real = found(&["broker-adapter/tests", "dispatcher/src/ports"]);
    let simulated = found(&["sim/src/broker"]);
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let cells = row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        let [_, _, on_real, in_sim] = cells[..] else { panic!("four columns: {row}") };
        let named = |cell: &str| cell.trim_matches('`').to_owned();
        assert!(real.contains(&named(on_real)), "no test on a real node is called {on_real}");
        assert!(simulated.contains(&named(in_sim)), "no test of the simulated broker is called {in_sim}");
        rows += 1;
    }
    assert!(rows > 30, "only {rows} rows were read");
}

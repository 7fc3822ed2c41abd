//! Cases that broke a promise once, and must not again: `sim/regressions/*.json`, each in both worlds. Whoever fixes what a
//! case showed puts it there, made small by `cargo sim shrink`, with a `name` that says what it was.

use quebert_sim::{
    case::Case,
    net::Kind,
    run::{self, Options, Setup},
};
use std::{fs, path::Path};

#[test]
fn no_case_that_broke_a_promise_does_so_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    files.sort();
    assert!(!files.is_empty(), "there are some: is it looking in the right place?");
    for path in files {
        let case = Case::from_json(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(!case.name.is_empty(), "{}: what was it?", path.display());
        for kind in [Kind::Fast, Kind::Turmoil] {
            let report = run::run(&case, &Setup::default(), &Options { kind, ..Options::default() });
            assert_eq!(report.violations, [], "{}, {kind:?} world", path.display());
        }
    }
}

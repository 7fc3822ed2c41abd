//! What the tests from end to end share: the program. No test stands here.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The program, which is another package's: the one that `QUEBERT_PROGRAM` names, or else built here if it isn't yet, in
/// the profile of this test.
pub(crate) fn quebert() -> PathBuf {
    if let Some(program) = std::env::var_os("QUEBERT_PROGRAM") {
        return program.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let arguments = ["build", "--offline", "--locked", "--package", "quebert", "--bin", "quebert"];
    let status = Command::new(cargo).args(arguments).current_dir(root).status().unwrap();
    assert!(status.success(), "the program can't be built");
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    folder.join("quebert")
}

//! schemathesis reads the description and tries what it promises: requests that fit it and requests that don't, each
//! answer held against what is written. `scripts/setup` installs it; its settings are in `schemathesis.toml`.

use super::site::{OPERATE, Site};
use std::{path::Path, process::Stdio};
use tokio::process::Command;

const ALL: &str =
    "[api.tokens.all]\nroles = [\"enqueue\", \"read\", \"operate\"]\ntoken = \"operate-operate-operate\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_failure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = root.join("target/schemathesis/venv/bin/schemathesis");
    assert!(program.exists(), "there is no {}: run scripts/setup", program.display());
    let site = Site::new(ALL).await;
    *site.broker.lookup.lock().unwrap() = true;
    let examples = if std::env::var_os("QUEBERT_LONG").is_some() { "1000" } else { "15" };
    // Streams end at once: otherwise it would wait for more events in each.
    site.feed.close();
    let own = root.join("quebert/tests/api");
    let output = Command::new(program)
        .env("SCHEMATHESIS_HOOKS", own.join("ndjson.py"))
        .arg("--config-file")
        .arg(own.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/v1/openapi.json", site.address)])
        .args(["--header", &format!("Authorization: Bearer {OPERATE}")])
        .args(["--max-examples", examples])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(!site.broker.stored.lock().unwrap().is_empty(), "it stored nothing: has it asked anything?\n{told}");
    site.stop().await;
}

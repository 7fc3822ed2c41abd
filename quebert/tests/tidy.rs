//! The rules of the house: which crate may depend on what, and what the source may not contain. Does not look at
//! behaviour; clippy.toml has the bans that clippy can see.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn the_dispatcher_knows_no_broker_no_client_and_no_metrics() {
    let dependencies = dependencies_of("quebert-dispatcher", "normal,build");
    forbid(
        "quebert-dispatcher",
        &dependencies,
        &["lapin", "hyper", "hyper-util", "axum", "redb", "clap", "turmoil", "prometheus", "tracing", "rustls"],
    );
    assert_eq!(of_this_house(&dependencies), ["quebert-dispatcher", "quebert-wire"]);
}

#[test]
fn the_metrics_know_no_adapter_and_no_program() {
    let dependencies = dependencies_of("quebert-metrics", "normal,build");
    forbid(
        "quebert-metrics",
        &dependencies,
        &["lapin", "hyper", "hyper-util", "axum", "redb", "clap", "turmoil", "tracing", "rustls"],
    );
    assert_eq!(of_this_house(&dependencies), ["quebert-dispatcher", "quebert-metrics", "quebert-wire"]);
}

#[test]
fn the_dashboards_know_the_list_of_metrics_and_do_no_io() {
    let dependencies = dependencies_of("quebert-dashboards", "normal,build");
    forbid(
        "quebert-dashboards",
        &dependencies,
        &["lapin", "hyper", "hyper-util", "axum", "redb", "clap", "turmoil", "tracing", "rustls"],
    );
    let known = ["quebert-dashboards", "quebert-dispatcher", "quebert-metrics", "quebert-wire"];
    assert_eq!(of_this_house(&dependencies), known);
    check_sources(&sources(&root().join("dashboards/src")), |text| {
        let code = without_comments(text);
        let forbidden = ["quebert_dispatcher", "std::net", "std::fs", "std::process", "tokio", ".await"];
        let found = forbidden.iter().filter(|word| code.contains(**word)).copied().collect::<Vec<_>>();
        (!found.is_empty()).then(|| format!("contains {}", found.join(", ")))
    });
}

#[test]
fn the_wire_knows_nobody() {
    let dependencies = dependencies_of("quebert-wire", "normal,build");
    forbid("quebert-wire", &dependencies, &["tokio", "lapin", "hyper", "tracing", "prometheus", "rand"]);
    assert_eq!(of_this_house(&dependencies), ["quebert-wire"]);
}

#[test]
fn the_adapters_know_no_program() {
    let dependencies = dependencies_of("quebert-broker-adapter", "normal,build");
    forbid("quebert-broker-adapter", &dependencies, &["clap", "prometheus", "axum", "tracing-subscriber"]);
    assert_eq!(of_this_house(&dependencies), ["quebert-broker-adapter", "quebert-dispatcher", "quebert-wire"]);
}

#[test]
fn the_simulation_knows_no_program_no_rabbitmq_and_no_dashboards() {
    let dependencies = dependencies_of("quebert-sim", "normal,build");
    forbid("quebert-sim", &dependencies, &["quebert", "lapin", "axum", "tracing-subscriber", "quebert-dashboards"]);
    // Its tests hold the alerts against simulated disasters.
    let with_tests = dependencies_of("quebert-sim", "normal,build,dev");
    forbid("quebert-sim", &with_tests, &["quebert", "lapin", "axum", "tracing-subscriber"]);
}

#[test]
fn the_load_tester_knows_no_program() {
    let dependencies = dependencies_of("quebert-loadtest", "normal,build");
    forbid("quebert-loadtest", &dependencies, &["quebert", "axum", "tracing-subscriber", "quebert-dashboards"]);
    // By way of the simulation, where the dispatcher runs in virtual time; the tester itself has no use for any of them.
    let direct = tree("quebert-loadtest", "normal,build", &["--depth", "1"]);
    forbid("quebert-loadtest", &direct, &["redb", "prometheus", "turmoil", "quebert-metrics"]);
    assert_eq!(
        of_this_house(&dependencies),
        [
            "quebert-broker-adapter",
            "quebert-dispatcher",
            "quebert-loadtest",
            "quebert-metrics",
            "quebert-sim",
            "quebert-wire"
        ]
    );
}

#[test]
fn the_load_tester_uses_the_simulation_in_one_place() {
    let mut sources = sources(&root().join("loadtest/src"));
    sources.retain(|file| !file.starts_with(root().join("loadtest/src/simulate/world")));
    check_sources(&sources, |text| {
        // Draws are no part of its world: both make the same ones.
        without_comments(text)
            .replace("pub use quebert_sim::draw;", "")
            .contains("quebert_sim")
            .then(|| "uses the simulation: simulate/world does that".to_owned())
    });
}

#[test]
fn there_is_one_crypto_provider() {
    for package in
        ["quebert", "quebert-broker-adapter", "quebert-dispatcher", "quebert-loadtest", "quebert-sim", "quebert-wire"]
    {
        let dependencies = dependencies_of(package, "normal,build,dev");
        forbid(package, &dependencies, &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "boring"]);
    }
    assert!(dependencies_of("quebert", "normal").contains("ring"), "the provider is ring");
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let root = toml(&root().join("Cargo.toml"));
    assert_eq!(root["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for member in members() {
        let manifest = toml(&member.join("Cargo.toml"));
        let inherited = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(inherited, Some(true), "{} must have `[lints] workspace = true`", member.display());
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    check_sources(&sources(&root()), |text| {
        (!text.starts_with("//!"))
            .then(|| "must open with `//!`: what it is for, and one thing it doesn't do".to_owned())
    });
}

#[test]
fn no_file_is_a_giant() {
    check_sources(&sources(&root()), |text| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("has {lines} lines, and {LINES_MAX} is the limit: find its second noun"))
    });
}

#[test]
fn the_core_neither_waits_nor_looks_at_the_world() {
    let core = sources(&root().join("dispatcher/src/core"));
    assert!(!core.is_empty(), "where has the core gone?");
    check_sources(&core, |text| {
        let code = without_comments(text);
        let found = CORE_FORBIDS.iter().filter(|word| code.contains(**word)).copied().collect::<Vec<_>>();
        (!found.is_empty()).then(|| format!("contains {}", found.join(", ")))
    });
}

#[test]
fn the_queue_core_is_as_deaf_and_knows_no_store() {
    let core = sources(&root().join("broker-adapter/src/queue"));
    check_sources(&core, |text| {
        let code = without_comments(text);
        let found = CORE_FORBIDS.iter().chain(&["redb", "std::fs", "embedded"]).filter(|word| code.contains(**word));
        let found = found.copied().collect::<Vec<_>>();
        (!found.is_empty()).then(|| format!("contains {}", found.join(", ")))
    });
}

#[test]
fn comments_may_name_what_code_may_not() {
    assert_eq!(without_comments("//! no `.await`\nlet a = 1; // HashMap\n/// Instant::now\n"), "\nlet a = 1; \n\n");
}

/// Fails with every file that `fault` finds one in.
#[track_caller]
fn check_sources(files: &[PathBuf], fault: impl Fn(&str) -> Option<String>) {
    assert!(!files.is_empty(), "no source found");
    let faults = files
        .iter()
        .filter_map(|file| {
            Some(format!("{}: {}", file.strip_prefix(root()).unwrap_or(file).display(), fault(&read(file))?))
        })
        .collect::<Vec<_>>();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[track_caller]
fn forbid(package: &str, dependencies: &BTreeSet<String>, forbidden: &[&str]) {
    let found = forbidden.iter().filter(|name| dependencies.contains(**name)).collect::<Vec<_>>();
    assert!(found.is_empty(), "{package} depends on {found:?}; `cargo tree -p {package} -i <name>` tells by which way");
}

/// The names of all that a package depends on, itself included, with all of its features.
#[track_caller]
fn dependencies_of(package: &str, edges: &str) -> BTreeSet<String> {
    tree(package, edges, &[])
}

/// The same, as far as more arguments of `cargo tree` say.
#[track_caller]
fn tree(package: &str, edges: &str, more: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--all-features", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package, "--edges", edges])
        .args(more)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("package names are UTF-8");
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let names = names.map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(names.contains(package), "cargo tree printed something else: {text}");
    names
}

fn of_this_house(dependencies: &BTreeSet<String>) -> Vec<&str> {
    dependencies.iter().map(String::as_str).filter(|name| name.starts_with("quebert")).collect()
}

/// Rust files under a directory, build output and hidden directories left out.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
            let path = entry.expect("a directory entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Good enough for code without `//` in string literals, such as the core.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

fn members() -> Vec<PathBuf> {
    let manifest = toml(&root().join("Cargo.toml"));
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    members.iter().map(|member| root().join(member.as_str().expect("a path"))).collect()
}

#[track_caller]
fn toml(path: &Path) -> toml::Table {
    read(path).parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is one up").to_owned()
}

const LINES_MAX: usize = 600;

/// Time, randomness and order come into the core as arguments, and nothing in it waits.
const CORE_FORBIDS: [&str; 10] = [
    ".await",
    "async fn",
    "tokio::",
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "std::net",
    "rand::rng(",
];

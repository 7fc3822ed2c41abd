//! The rules before promtool: its lints, and for each alert that it fires when it should, not before, and not for its
//! neighbours. The tests that promtool runs are made from `scenarios` and committed, so that it can run them anywhere.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod scenario;
mod scenarios;

use quebert_dashboards::{Bundle, Settings, files};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn every_alert_has_a_scenario_in_which_it_fires_and_a_moment_in_which_it_does_not() {
    let scenarios = scenarios::all();
    let bundle = Bundle::new(&Settings::default());
    for alert in bundle.groups.iter().flat_map(|g| &g.rules).filter_map(|rule| rule.alert()) {
        let own = scenarios.iter().filter(|s| s.alert == alert.name).collect::<Vec<_>>();
        assert!(own.iter().any(|s| s.moments.iter().any(|m| !m.firing.is_empty())), "{} never fires", alert.name);
        assert!(own.iter().any(|s| s.moments.iter().any(|m| m.firing.is_empty())), "{} always fires", alert.name);
    }
    let names = scenarios.iter().map(scenario::Scenario::file).collect::<BTreeSet<_>>();
    assert_eq!(names.len(), scenarios.len(), "two scenarios share a file");
}

#[test]
fn promtool_finds_nothing_to_say_of_the_rules() {
    let folder = root().join("prometheus");
    promtool(&folder, &["check", "rules", "--lint=all", "--lint-fatal", "quebert-recording.yml", "quebert-alerts.yml"]);
    promtool(&folder, &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = root().join("prometheus/tests");
    let bundle = Bundle::new(&Settings::default());
    let mut committed = names(&folder);
    for scenario in scenarios::all() {
        same(&folder.join(scenario.file()), &scenario.yaml(&bundle));
        committed.remove(&scenario.file());
    }
    assert!(committed.is_empty(), "these tests belong to no scenario: {committed:?}");
    let files = names(&folder);
    let files = files.iter().map(String::as_str);
    promtool(&folder, &["test", "rules"].into_iter().chain(files).collect::<Vec<_>>());
}

#[test]
fn what_is_committed_is_what_is_made() {
    let bundle = Bundle::new(&Settings::default());
    let made = files(&bundle);
    for file in &made {
        same(&root().join(&file.path), &file.text);
    }
    let boards = made.iter().filter_map(|file| file.path.strip_prefix("grafana/")).map(str::to_owned).collect();
    assert_eq!(names(&root().join("grafana")), boards, "a dashboard is there that is not made");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let bundle = Bundle::new(&Settings::default());
    let alerts = bundle.groups.iter().flat_map(|g| &g.rules).filter_map(|rule| rule.alert());
    let mut expected = alerts.clone().map(|alert| format!("{}.md", alert.name)).collect::<BTreeSet<_>>();
    for alert in alerts {
        let file = alert.runbook.rsplit('/').next().unwrap();
        let text = fs::read_to_string(root().join("runbooks").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        for part in [&format!("# {}", alert.name), "\n## What it means", "\n## Why", "\n## What to do"] {
            assert!(text.contains(part), "{file} lacks {part:?}");
        }
        assert!(text.contains("```promql") || text.contains("```sh"), "{file} says nothing that one could run");
    }
    expected.insert("README.md".to_owned());
    assert_eq!(names(&root().join("runbooks")), expected);
}

/// The queries that runbooks name are of metrics and labels that there are.
#[test]
fn runbooks_ask_only_for_what_there_is() {
    use quebert_dashboards::check::names_in;
    for name in names(&root().join("runbooks")) {
        let text = fs::read_to_string(root().join("runbooks").join(&name)).unwrap();
        for query in text.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            for line in query.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
                let findings = names_in(&Bundle::new(&Settings::default()), &format!("{name}: {line}"), line);
                assert!(findings.is_empty(), "{findings:#?}");
            }
        }
    }
}

fn same(path: &Path, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, made).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == made, "{} is not what is made; run with UPDATE=1", path.display());
}

fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn promtool(folder: &Path, args: &[&str]) -> String {
    let out = Command::new("promtool")
        .args(args)
        .current_dir(folder)
        .output()
        .expect("this test needs promtool: install Prometheus (Debian: apt-get install prometheus)");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "promtool {}:\n{said}", args.join(" "));
    said
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

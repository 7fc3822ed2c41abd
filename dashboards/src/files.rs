//! Everything that is generated, by its path below `dashboards/`. Writing it anywhere is the caller's business.

use crate::{Bundle, rules};

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// With slashes, relative.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// Dashboards, rules, and how Grafana and Prometheus find them.
pub fn files(bundle: &Bundle) -> Vec<File> {
    let boards = bundle.boards.iter().map(|board| {
        let name = board["uid"].as_str().unwrap_or_default();
        let mut text = serde_json::to_string_pretty(board).expect("plain JSON");
        text.push('\n');
        file(&format!("grafana/{name}.json"), text)
    });
    let (alerts, recording): (Vec<_>, Vec<_>) =
        bundle.groups.iter().cloned().partition(|group| group.rules.iter().any(|rule| rule.alert().is_some()));
    boards
        .chain([
            file("prometheus/quebert-recording.yml", rules::file(&recording)),
            file("prometheus/quebert-alerts.yml", rules::file(&alerts)),
            file("prometheus/prometheusrule.yaml", rules::manifest(&bundle.groups)),
            file("provisioning/datasources/prometheus.yaml", include_str!("../static/datasource.yaml").to_owned()),
            file("provisioning/dashboards/quebert.yaml", include_str!("../static/provider.yaml").to_owned()),
        ])
        .collect()
}

fn file(path: &str, text: String) -> File {
    File { path: path.to_owned(), text }
}

//! A dashboard as Grafana's classic JSON (schema version 39): panels, variables, layout. Which panels there are is said in
//! `boards`; what they must have, whoever writes them, is checked in `check`.

use crate::{boards::S, panel::Panel};
use serde_json::{Value, json};

/// A dashboard to be.
#[derive(Debug, Clone)]
pub struct Board {
    /// The end of its uid, and its file's name.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What question it answers.
    pub about: &'static str,
    /// Besides data source, job and instance.
    pub variables: Vec<Variable>,
    /// In reading order.
    pub panels: Vec<Panel>,
}

/// A variable that Prometheus is asked for.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What people see.
    pub label: &'static str,
    /// `label_values(...)`.
    pub query: String,
    /// Which values are offered; empty is all of them.
    pub regex: String,
}

impl Board {
    /// Its uid.
    pub fn uid(&self) -> String {
        format!("quebert-{}", self.name)
    }

    /// As Grafana reads it.
    pub fn json(&self) -> Value {
        let variables = self.variables.iter().map(Variable::json);
        let picker = json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
            "multi": false, "includeAll": false, "refresh": 1, "regex": "", "options": [],
            "current": {"selected": true, "text": "default", "value": "default"},
        });
        json!({
            "uid": self.uid(),
            "title": self.title,
            "description": self.about,
            "tags": ["quebert"],
            "schemaVersion": 39,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "liveNow": false,
            "refresh": "30s",
            "timezone": "browser",
            "weekStart": "",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "links": [{
                "type": "dashboards", "title": "Quebert", "tags": ["quebert"], "asDropdown": false, "icon": "external link",
                "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "", "url": "",
            }],
            "annotations": {"list": annotations()},
            "templating": {"list": std::iter::once(picker).chain(variables).collect::<Vec<_>>()},
            "panels": self.laid_out(),
        })
    }

    /// From left to right, in lines that are as high as their highest panel.
    fn laid_out(&self) -> Vec<Value> {
        let (mut x, mut y, mut height) = (0, 0, 0);
        let mut laid_out = Vec::new();
        for (n, panel) in self.panels.iter().enumerate() {
            if x + panel.width > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            laid_out.push(panel.json(n + 1, x, y));
            x += panel.width;
            height = height.max(panel.height);
        }
        laid_out
    }
}

impl Variable {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "label": self.label, "type": "query", "hide": 0, "datasource": source(),
            "query": {"query": self.query, "refId": format!("{}-values", self.name)},
            "refresh": 2, "regex": self.regex, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "options": [], "current": {"selected": true, "text": ["All"], "value": ["$__all"]}, "skipUrlSync": false,
        })
    }
}

/// What happened to dispatchers, at the moment when it did: the value is the time.
fn annotations() -> Vec<Value> {
    let own = |name: &str, metric: &str, color: &str| {
        json!({
            "name": name, "enable": true, "hide": false, "iconColor": color, "datasource": source(),
            "expr": format!("{metric}{{{S}}} * 1000 and on (job, instance) quebert_build_info{{{S}}}"), "useValueForTime": true,
            "titleFormat": name, "textFormat": "{{instance}}", "tagKeys": "instance", "step": "60s",
        })
    };
    vec![
        json!({
            "builtIn": 1, "name": "Annotations & Alerts", "type": "dashboard", "enable": true, "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)", "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        }),
        own("Dispatcher started", "process_start_time_seconds", "orange"),
        own("Config read", "quebert_config_last_reload_success_timestamp_seconds", "blue"),
    ]
}

/// Never a fixed one: the same file works imported, provisioned and in a sidecar.
pub(crate) fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// Of Grafana's grid.
pub(crate) const COLUMNS: u32 = 24;

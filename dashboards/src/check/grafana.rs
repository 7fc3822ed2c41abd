//! The rules of Grafana's dashboard-linter that concern a dashboard, its variables and its panels, and some of our own:
//! overlapping panels, numbers used twice, links to nowhere. Queries are judged elsewhere.

use super::{Finding, units::UNITS};
use crate::{board::COLUMNS, promql};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn check(boards: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let uids = boards.iter().map(|board| text(board, "uid").to_owned()).collect::<Vec<_>>();
    for board in boards {
        let mut check = Check { place: text(board, "title").to_owned(), findings: &mut findings };
        check.board(board);
        check.variables(board);
        for panel in panels(board) {
            check.place = place(board, panel);
            check.panel(panel);
        }
        check.place = text(board, "title").to_owned();
        check.layout(board);
        check.links(board, &uids);
    }
    let distinct = uids.iter().collect::<BTreeSet<_>>();
    if distinct.len() != uids.len() {
        findings.push(Finding::wrong("uid", "all dashboards", "two have the same uid"));
    }
    findings
}

struct Check<'a> {
    place: String,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn must(&mut self, holds: bool, rule: &'static str, what: impl Into<String>) {
        if !holds {
            self.findings.push(Finding::wrong(rule, &self.place, what));
        }
    }

    fn board(&mut self, board: &Value) {
        self.must(board["editable"] == false, "uneditable-dashboard", "editable must be false");
        self.must(!text(board, "description").is_empty(), "board-description", "it has no description");
        let uid = text(board, "uid");
        self.must(!uid.is_empty() && uid.len() <= 40, "uid", "the uid must have 1 to 40 characters");
        self.must(board["schemaVersion"] == 39, "schema", "schemaVersion must be 39");
    }

    fn variables(&mut self, board: &Value) {
        let variables = list(&board["templating"]["list"]);
        let source = variables.iter().find(|v| v["type"] == "datasource");
        let good = source.is_some_and(|v| v["name"] == "datasource" && v["label"] == "Data source");
        self.must(good, "template-datasource-rule", "there must be a variable `datasource`, labelled \"Data source\"");
        for (name, label, rule) in
            [("job", "Job", "template-job-rule"), ("instance", "Instance", "template-instance-rule")]
        {
            let found = variables.iter().find(|v| v["name"] == name);
            let good = found.is_some_and(|v| {
                v["type"] == "query" && v["label"] == label && v["multi"] == true && v["allValue"] == ".+"
            });
            self.must(good, rule, format!("there must be a query variable `{name}`, multi, with allValue \".+\""));
        }
        for variable in variables.iter().filter(|v| v["type"] == "query") {
            let name = text(variable, "name");
            self.must(
                variable["datasource"]["uid"] == SOURCE,
                "template-datasource-rule",
                format!("variable {name} names a data source"),
            );
            self.must(
                variable["refresh"] == 2,
                "template-on-time-change-reload-rule",
                format!("variable {name} must refresh on time change"),
            );
            let good = label_values(text(&variable["query"], "query")).is_some_and(|(selector, label)| {
                !label.is_empty() && promql::selectors(&selector).is_ok_and(|found| found.len() == 1)
            });
            self.must(
                good,
                "template-label-promql-rule",
                format!("variable {name} is no label_values(selector, label)"),
            );
        }
    }

    fn panel(&mut self, panel: &Value) {
        self.must(panel["datasource"]["uid"] == SOURCE, "panel-datasource-rule", "it names a data source");
        for target in list(&panel["targets"]) {
            self.must(target["datasource"]["uid"] == SOURCE, "panel-datasource-rule", "a query names a data source");
        }
        self.must(
            !text(panel, "title").is_empty() && !text(panel, "description").is_empty(),
            "panel-title-description-rule",
            "title and description must not be empty",
        );
        for part in ["**Shows** ", "**Healthy** ", "**If not** "] {
            self.must(
                text(panel, "description").contains(part),
                "panel-teaches",
                format!("its description lacks {part}"),
            );
        }
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        self.must(UNITS.contains(&unit), "panel-units-rule", format!("`{unit}` is no unit that we know"));
        self.must(!list(&panel["targets"]).is_empty(), "panel-no-targets-rule", "it asks nothing");
        let refs = list(&panel["targets"]).iter().map(|t| text(t, "refId")).collect::<BTreeSet<_>>();
        self.must(refs.len() == list(&panel["targets"]).len(), "panel-ref-ids", "two queries have the same refId");
    }

    fn layout(&mut self, board: &Value) {
        let panels = panels(board);
        let ids = panels.iter().map(|p| p["id"].as_u64()).collect::<BTreeSet<_>>();
        self.must(ids.len() == panels.len() && !ids.contains(&None), "panel-ids", "two panels have the same id");
        let titles = panels.iter().map(|p| text(p, "title")).collect::<BTreeSet<_>>();
        self.must(titles.len() == panels.len(), "panel-titles", "two panels have the same title");
        for (n, one) in panels.iter().enumerate() {
            let area = Area::of(one);
            self.must(
                area.w > 0 && area.h > 0 && area.x + area.w <= u64::from(COLUMNS),
                "panel-layout",
                format!("`{}` does not fit into the grid", text(one, "title")),
            );
            for other in &panels[..n] {
                let (a, b) = (text(one, "title"), text(other, "title"));
                self.must(!area.meets(&Area::of(other)), "panel-layout", format!("`{a}` lies over `{b}`"));
            }
        }
    }

    /// Wherever `/d/uid` is written, there is such a dashboard; and links keep what is chosen.
    fn links(&mut self, board: &Value, uids: &[String]) {
        let whole = board.to_string();
        for rest in whole.split("/d/").skip(1) {
            let uid = rest.split(['?', '"', '/']).next().unwrap_or_default();
            self.must(
                uids.iter().any(|u| u == uid),
                "links",
                format!("a link leads to `{uid}`, which is no dashboard"),
            );
        }
        let kept = list(&board["links"]).iter().all(|l| l["includeVars"] == true && l["keepTime"] == true);
        self.must(kept && !list(&board["links"]).is_empty(), "links", "links must keep variables and time");
    }
}

struct Area {
    x: u64,
    y: u64,
    w: u64,
    h: u64,
}

impl Area {
    fn of(panel: &Value) -> Self {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        Self { x: at("x"), y: at("y"), w: at("w"), h: at("h") }
    }

    fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

/// The panels, those in rows included.
pub(super) fn panels(board: &Value) -> Vec<&Value> {
    let direct = list(&board["panels"]);
    direct.iter().flat_map(|p| std::iter::once(p).chain(list(&p["panels"]))).filter(|p| p["type"] != "row").collect()
}

pub(super) fn place(board: &Value, panel: &Value) -> String {
    format!("{} / {}", text(board, "title"), text(panel, "title"))
}

/// Selector and label of `label_values(selector, label)`.
pub(super) fn label_values(query: &str) -> Option<(String, String)> {
    let inner = query.trim().strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = inner.rsplit_once(',')?;
    Some((selector.trim().to_owned(), label.trim().to_owned()))
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The variable, and nothing else.
const SOURCE: &str = "${datasource}";

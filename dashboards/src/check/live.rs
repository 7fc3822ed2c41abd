//! What a Prometheus is asked, and what its answers say: does every panel, variable and rule have data, is what it exports
//! known and used, are the rules loaded and well, are there too many series. It asks nothing itself.

use super::{
    Finding, Weight,
    grafana::{label_values, list, panels, place, text},
    names::{recorded, spec_of},
};
use crate::{Bundle, promql};
use quebert_metrics::list::{Bound, Spec};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What to ask, and with which eyes.
#[derive(Debug, Clone)]
pub struct View {
    /// Regular expression of our jobs.
    pub job: String,
    /// Until when, in seconds since the Unix epoch.
    pub end: f64,
    /// How far back, in seconds.
    pub span: f64,
    /// Between points, in seconds.
    pub step: f64,
    /// What stands for `$__rate_interval`: at least four scrapes.
    pub rate_interval: String,
    /// Most series that one dispatcher may have.
    pub series_max: u64,
}

/// A question to Prometheus' HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Below the address of the server.
    pub path: String,
    /// Names and values, not escaped.
    pub query: Vec<(&'static str, String)>,
}

/// What came of each question: the answer's `data`, or why there is none.
pub type Answers = BTreeMap<Question, Result<Value, String>>;

impl View {
    fn range(&self, expr: &str) -> Question {
        let at = |time: f64| format!("{time:.3}");
        let window = [("start", at(self.end - self.span)), ("end", at(self.end)), ("step", self.step.to_string())];
        let query = std::iter::once(("query", self.expand(expr))).chain(window).collect();
        Question { path: "/api/v1/query_range".to_owned(), query }
    }

    fn instant(&self, expr: &str) -> Question {
        let query = vec![("query", self.expand(expr)), ("time", format!("{:.3}", self.end))];
        Question { path: "/api/v1/query".to_owned(), query }
    }

    /// How many series of a selector there have been.
    fn count(&self, selector: &str) -> Question {
        self.instant(&format!("count(last_over_time({selector}[{}s]))", self.span))
    }

    fn values(&self, selector: &str, label: &str) -> Question {
        Question { path: format!("/api/v1/label/{label}/values"), query: vec![("match[]", self.expand(selector))] }
    }

    fn rules() -> Question {
        Question { path: "/api/v1/rules".to_owned(), query: Vec::new() }
    }

    fn names(&self) -> Question {
        self.values(&format!("{{job=~\"{}\"}}", self.job), "__name__")
    }

    fn series(&self) -> Question {
        self.instant(&format!("count by (instance) ({{job=~\"{}\",__name__=~\"(quebert|process)_.+\"}})", self.job))
    }

    /// As Grafana does with everything chosen.
    fn expand(&self, text: &str) -> String {
        let text = text.replace("$__rate_interval", &self.rate_interval);
        let all = ["job", "instance", "queue", "destination", "rabbitmq"];
        all.iter().fold(text, |text, name| text.replace(&format!("\"${name}\""), "\".+\""))
    }
}

/// All that must be asked before [`judge`] can judge.
pub fn questions(bundle: &Bundle, view: &View) -> BTreeSet<Question> {
    let mut asked = BTreeSet::from([View::rules(), view.names(), view.series()]);
    for check in checks(bundle, view) {
        asked.insert(check.question);
        asked.extend(check.parts.into_iter().flat_map(|part| [part.question, part.whole]));
    }
    asked
}

/// What the answers say. An answer that is missing counts as none.
pub fn judge(bundle: &Bundle, view: &View, answers: &Answers) -> Vec<Finding> {
    let exported = exported(view, answers);
    let mut findings = Vec::new();
    for check in checks(bundle, view) {
        findings.extend(check.judge(answers, &exported));
    }
    findings.extend(loaded(bundle, answers));
    findings.extend(known(bundle, &exported));
    findings.extend(budget(view, answers));
    findings.sort();
    findings.dedup();
    findings
}

/// One query, and the selectors in it.
struct Check {
    place: String,
    expr: String,
    question: Question,
    parts: Vec<Part>,
    /// Whether it must have values itself, and not only in its parts: an alert has none while all is well.
    must_have_values: bool,
    /// Labels that its legend names.
    legend: Vec<String>,
}

/// A selector in a query.
struct Part {
    selector: String,
    /// Whether it has series.
    question: Question,
    /// Whether its metric has any at all.
    whole: Question,
    /// Whether a metric without any series just has nothing to tell yet.
    may_be_idle: bool,
}

fn checks(bundle: &Bundle, view: &View) -> Vec<Check> {
    let mut checks = Vec::new();
    for board in &bundle.boards {
        for panel in panels(board) {
            for target in list(&panel["targets"]) {
                let mut check = check(view, place(board, panel), text(target, "expr"));
                check.legend = braced(text(target, "legendFormat"));
                checks.push(check);
            }
        }
        for annotation in list(&board["annotations"]["list"]).iter().filter(|a| a["builtIn"] != 1) {
            let place = format!("{} / annotation {}", text(board, "title"), text(annotation, "name"));
            checks.push(check(view, place, text(annotation, "expr")));
        }
        for variable in list(&board["templating"]["list"]).iter().filter(|v| v["type"] == "query") {
            if let Some((selector, label)) = label_values(text(&variable["query"], "query")) {
                let place = format!("{} / variable {}", text(board, "title"), text(variable, "name"));
                let question = view.values(&selector, &label);
                checks.push(Check { question, parts: Vec::new(), ..check(view, place, &selector) });
            }
        }
    }
    for rule in bundle.groups.iter().flat_map(|group| &group.rules) {
        let mut check = check(view, format!("rule {}", rule.name()), &rule.expr);
        check.question = view.instant(&rule.expr);
        check.must_have_values = rule.alert().is_none();
        checks.push(check);
    }
    checks
}

fn check(view: &View, place: String, expr: &str) -> Check {
    let parts = promql::selectors(expr).unwrap_or_default().into_iter().map(|s| Part {
        question: view.count(&s.text),
        whole: view.count(&s.metric),
        may_be_idle: may_be_idle(&s.metric),
        selector: s.text,
    });
    let (parts, question) = (parts.collect(), view.range(expr));
    Check { place, expr: expr.to_owned(), question, parts, must_have_values: true, legend: Vec::new() }
}

/// Recorded ratios have no series while nothing ends, and destinations none before the first attempt. That a name is wrong
/// shows without data.
fn may_be_idle(metric: &str) -> bool {
    let by_destination = |spec: &Spec| spec.labels.iter().any(|label| matches!(label.bound, Bound::Destinations));
    metric.contains(':') || spec_of(metric).is_some_and(by_destination)
}

impl Check {
    fn judge(&self, answers: &Answers, exported: &BTreeSet<String>) -> Vec<Finding> {
        let wrong = |what: String| Finding::wrong("has-data", &self.place, what);
        let answer = match answers.get(&self.question) {
            Some(Ok(answer)) => answer,
            Some(Err(why)) => return vec![wrong(format!("Prometheus refuses it: {why}"))],
            None => return vec![wrong("it was not asked".to_owned())],
        };
        if let Some(reason) = self.absent(exported) {
            return if has_values(answer) { Vec::new() } else { vec![self.finding(Weight::Excused, reason)] };
        }
        let there = |question: &Question| matches!(answers.get(question), Some(Ok(answer)) if has_values(answer));
        let empty = self.parts.iter().filter(|part| !there(&part.question)).map(|part| {
            let idle = part.may_be_idle && !there(&part.whole);
            let weight = if idle { Weight::Quiet } else { Weight::Wrong };
            self.finding(weight, &format!("nothing is selected by {}", part.selector))
        });
        let empty = empty.collect::<Vec<_>>();
        if !empty.is_empty() {
            return empty;
        }
        if self.must_have_values && !has_values(answer) {
            return vec![self.finding(Weight::Quiet, "no value in this time, though all that it selects is there")];
        }
        let missing = self.legend.iter().filter(|label| !has_values_with(answer, label));
        missing.map(|label| wrong(format!("its legend names `{label}`, which no series has"))).collect()
    }

    fn finding(&self, weight: Weight, what: &str) -> Finding {
        Finding { weight, rule: "has-data", place: self.place.clone(), what: what.to_owned() }
    }

    /// Why none of what it asks for may be there, if it is not.
    fn absent(&self, exported: &BTreeSet<String>) -> Option<&'static str> {
        let selectors = promql::selectors(&self.expr).unwrap_or_default();
        CONDITIONAL
            .iter()
            .find(|(prefix, _)| {
                let mut of_it = selectors.iter().filter(|s| s.metric.starts_with(prefix)).peekable();
                of_it.peek().is_some() && of_it.all(|s| !exported.contains(&s.metric))
            })
            .map(|(_, reason)| *reason)
    }
}

/// Metrics that only some have. One that is renamed is none of these, and one that is exported is no exception any more.
const CONDITIONAL: [(&str, &str); 5] = [
    ("quebert_hook_", "only programs with mediators have these"),
    ("quebert_retry_pending_messages", "only the embedded broker can tell"),
    ("quebert_queue_ready_bytes", "only the embedded broker can tell"),
    ("quebert_store_file_bytes", "only the embedded broker has a file"),
    ("rabbitmq_", "needs RabbitMQ, its plugin rabbitmq_prometheus, and a scrape of it"),
];

fn exported(view: &View, answers: &Answers) -> BTreeSet<String> {
    let names = answers.get(&view.names()).and_then(|answer| answer.as_ref().ok());
    let mut names = names
        .map(list)
        .unwrap_or_default()
        .iter()
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect::<BTreeSet<_>>();
    // RabbitMQ is another job: it is there if its variable has a value.
    let rabbit = view.values("rabbitmq_build_info", "job");
    if answers.get(&rabbit).is_some_and(|answer| answer.as_ref().is_ok_and(|a| !list(a).is_empty())) {
        names.extend(crate::boards::rabbitmq::METRICS.iter().map(|name| (*name).to_owned()));
    }
    names
}

/// Whether the rules are there and well.
fn loaded(bundle: &Bundle, answers: &Answers) -> Vec<Finding> {
    let Some(Ok(answer)) = answers.get(&View::rules()) else {
        return vec![Finding::wrong("rules-loaded", "rules", "Prometheus does not tell its rules")];
    };
    let rules = list(&answer["groups"]).iter().flat_map(|group| {
        list(&group["rules"]).iter().map(move |rule| ((text(group, "name"), text(rule, "name")), rule))
    });
    let rules = rules.collect::<Vec<_>>();
    let mut findings = Vec::new();
    for group in &bundle.groups {
        for rule in &group.rules {
            let place = format!("rule {}", rule.name());
            let mut same = rules.iter().filter(|(key, _)| *key == (group.name, rule.name())).peekable();
            if same.peek().is_none() {
                findings.push(Finding::wrong("rules-loaded", &place, "Prometheus has no such rule"));
            }
            for (_, found) in same.filter(|(_, found)| found["health"] != "ok") {
                let what = format!("its health is {}: {}", text(found, "health"), text(found, "lastError"));
                findings.push(Finding::wrong("rules-loaded", &place, what));
            }
        }
    }
    findings
}

/// Whether all that is exported is in the list. That all of the list is used shows without a Prometheus.
fn known(bundle: &Bundle, exported: &BTreeSet<String>) -> Vec<Finding> {
    let recorded = recorded(bundle);
    let ours = exported.iter().filter(|name| name.starts_with("quebert_") || name.starts_with("process_"));
    if ours.clone().next().is_none() {
        return vec![Finding::wrong("known-metrics", "all", "no dispatcher's metrics are there: is it the right job?")];
    }
    let strangers = ours.filter(|name| spec_of(name).is_none() && !recorded.contains(name.as_str()));
    let strange = |name: &String| Finding::wrong("known-metrics", name, "is exported, and in no list");
    strangers.map(strange).collect()
}

fn budget(view: &View, answers: &Answers) -> Vec<Finding> {
    let Some(Ok(answer)) = answers.get(&view.series()) else { return Vec::new() };
    let too_many = list(&answer["result"]).iter().filter_map(|one| {
        let series = one["value"][1].as_str()?.parse::<u64>().ok()?;
        let place = format!("instance {}", text(&one["metric"], "instance"));
        let what = format!("it has {series} series; {} are the budget", view.series_max);
        (series > view.series_max).then(|| Finding::wrong("series-budget", &place, what))
    });
    too_many.collect()
}

/// Whether there is any number in it: of a query, or of the values of a label.
fn has_values(answer: &Value) -> bool {
    if let Some(values) = answer.as_array() {
        return !values.is_empty();
    }
    list(&answer["result"]).iter().any(has_number)
}

fn has_values_with(answer: &Value, label: &str) -> bool {
    list(&answer["result"]).iter().any(|series| series["metric"].get(label).is_some())
}

fn has_number(series: &Value) -> bool {
    let is_number = |point: &Value| point[1].as_str().and_then(|v| v.parse::<f64>().ok()).is_some_and(|v| !v.is_nan());
    is_number(&series["value"]) || list(&series["values"]).iter().any(is_number)
}

/// What stands in `{{ }}`.
fn braced(text: &str) -> Vec<String> {
    let inner = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    inner.map(|name| name.trim().to_owned()).collect()
}

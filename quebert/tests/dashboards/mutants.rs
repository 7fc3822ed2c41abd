//! Dashboards and rules, spoilt in one way each, with the rule that must find it. That it is found is tried elsewhere.

use quebert_dashboards::{
    Bundle,
    check::View,
    rules::{Rule, RuleKind},
};
use serde_json::{Value, json};

type Spoil = Box<dyn Fn(&mut Bundle, &mut View)>;

/// One way to spoil them.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// What must find it.
    pub(crate) rule: &'static str,
    pub(crate) spoil: Spoil,
}

pub(crate) fn mutants() -> Vec<Mutant> {
    [queries(), boards(), rules(), surroundings()].into_iter().flatten().collect()
}

fn queries() -> Vec<Mutant> {
    let done = r#"quebert_settlements_total{job=~"$job",instance=~"$instance",queue=~"$queue",result="succeeded"}[$__rate_interval]"#;
    let wait = "quebert_task_wait_seconds_bucket";
    vec![
        query("a metric is renamed", "known-metrics", "overview", "quebert_settlements_total", "quebert_settled_total"),
        query("a label's value is wrong", "known-labels", "overview", r#"result="succeeded""#, r#"result="success""#),
        query(
            "a value that only data knows is wrong",
            "has-data",
            "overview",
            r#"queue=~"$queue""#,
            r#"queue=~"$queue",queue!="mail",queue!="bulk""#,
        ),
        query("a label is wrong", "known-labels", "overview", r#"queue=~"$queue""#, r#"lane=~"$queue""#),
        query("a parenthesis is missing", "target-promql-rule", "overview", "sum(rate(", "sum(rate"),
        query(
            "a matcher has no quote",
            "target-promql-rule",
            "overview",
            r#"result="succeeded""#,
            "result=\"succeeded",
        ),
        query("a function is misspelt", "has-data", "overview", "histogram_quantile", "histogram_quintile"),
        query("a window is fixed", "target-rate-interval-rule", "overview", "[$__rate_interval]", "[5m]"),
        query("a window is missing", "target-promql-rule", "overview", done, &done.replace("[$__rate_interval]", "")),
        query(
            "a counter has no rate",
            "target-counter-agg-rule",
            "retries",
            "rate(quebert_retries_scheduled_total{job=~\"$job\",instance=~\"$instance\",queue=~\"$queue\"}[$__rate_interval])",
            "quebert_retries_scheduled_total{job=~\"$job\",instance=~\"$instance\",queue=~\"$queue\"}",
        ),
        query("a variable is unknown", "unknown-variable", "overview", "\"$queue\"", "\"$lane\""),
        query("the job is left out", "target-job-rule", "overview", r#"job=~"$job","#, ""),
        query("the job is fixed", "target-job-rule", "overview", r#"job=~"$job""#, r#"job="quebert""#),
        query("the instance is left out", "target-instance-rule", "overview", r#",instance=~"$instance""#, ""),
        query("a histogram has no bucket", "known-metrics", "overview", wait, "quebert_task_wait_seconds"),
        query("a quantile has no bounds", "has-data", "overview", "sum by (le)", "sum by (queue)"),
        query("a sum is by what is not there", "has-data", "queue", "by (queue, result)", "by (queue, outcome)"),
        query(
            "two sides never match",
            "has-data",
            "queue",
            "sum by (queue) (quebert_queue_concurrency_limit",
            "sum by (job) (quebert_queue_concurrency_limit",
        ),
        query(
            "a recorded series is renamed",
            "known-metrics",
            "capacity",
            "queue:quebert_drain:seconds",
            "queue:quebert_drain:minutes",
        ),
        query("the only use of a metric goes", "used-metrics", "capacity", "process_threads", "process_open_fds"),
    ]
}

fn boards() -> Vec<Mutant> {
    vec![
        set("a data source is fixed", "panel-datasource-rule", "/panels/0/datasource/uid", json!("P1809")),
        set(
            "a query's data source is fixed",
            "panel-datasource-rule",
            "/panels/0/targets/0/datasource/uid",
            json!("${DS_PROMETHEUS}"),
        ),
        set("panels overlap", "panel-layout", "/panels/1/gridPos/x", json!(1)),
        set("a panel is too wide", "panel-layout", "/panels/5/gridPos/w", json!(20)),
        set("a description is missing", "panel-title-description-rule", "/panels/2/description", json!("")),
        set("a description teaches nothing", "panel-teaches", "/panels/2/description", json!("the wait")),
        set("a title is missing", "panel-title-description-rule", "/panels/2/title", json!("")),
        set("a unit is missing", "panel-units-rule", "/panels/2/fieldConfig/defaults/unit", json!("")),
        set("a unit is made up", "panel-units-rule", "/panels/2/fieldConfig/defaults/unit", json!("sec")),
        set("a panel asks nothing", "panel-no-targets-rule", "/panels/2/targets", json!([])),
        set("a legend names what is not there", "has-data", "/panels/7/targets/0/legendFormat", json!("{{reason}}")),
        set("two panels have one id", "panel-ids", "/panels/2/id", json!(1)),
        set("two queries have one id", "panel-ref-ids", "/panels/8/targets/1/refId", json!("A")),
        set("it can be edited", "uneditable-dashboard", "/editable", json!(true)),
        set(
            "a link leads nowhere",
            "links",
            "/panels/0/fieldConfig/defaults/links",
            json!([{"title": "x", "url": "/d/quebert-queues?a=b"}]),
        ),
        set("links forget what is chosen", "links", "/links/0/includeVars", json!(false)),
        set("its uid is another's", "uid", "/uid", json!("quebert-queue")),
        board("the data source is no variable", "template-datasource-rule", |b| {
            b["templating"]["list"].as_array_mut().unwrap().remove(0);
        }),
        set("the job is no variable", "template-job-rule", "/templating/list/1/name", json!("cluster")),
        set("an instance can't be all", "template-instance-rule", "/templating/list/2/allValue", json!("")),
        set(
            "a variable is never renewed",
            "template-on-time-change-reload-rule",
            "/templating/list/3/refresh",
            json!(0),
        ),
        set(
            "a variable is no question",
            "template-label-promql-rule",
            "/templating/list/3/query/query",
            json!("label_values("),
        ),
        set(
            "a variable asks for what is not there",
            "has-data",
            "/templating/list/3/query/query",
            json!("label_values(quebert_queue_concurrency_limit{job=~\"$job\"}, lane)"),
        ),
        set(
            "an annotation asks for what is not there",
            "known-metrics",
            "/annotations/list/1/expr",
            json!("quebert_start_time{job=~\"$job\",instance=~\"$instance\"}"),
        ),
    ]
}

fn rules() -> Vec<Mutant> {
    vec![
        rule("a rule's metric is unknown", "known-metrics", "QuebertScheduleLag", "schedule_lag", "schedule_delay"),
        rule("a rule's label value is wrong", "known-labels", "QuebertConfigReloadFailed", "\"error\"", "\"failed\""),
        rule(
            "a rule's regex is wrong",
            "known-labels",
            "QuebertDeliveryBudgetBurn",
            "dead_lettered|",
            "dead-lettered|dead|",
        ),
        rule("a rule is no PromQL", "has-data", "QuebertDown", "== 0", "= 0"),
        rule("a rule is for another job", "has-data", "QuebertDown", "quebert.*", "qubert.*"),
        rule(
            "a rule's bound is no bucket",
            "has-data",
            "queue:quebert_slo_wait_errors:ratio_rate5m",
            "5([.]0)?",
            "7([.]0)?",
        ),
        rule("a recording rule has no values", "has-data", "queue:quebert_drain:seconds", "> 0", "> 1e9"),
        Mutant {
            name: "a rule is not loaded",
            rule: "rules-loaded",
            spoil: Box::new(|bundle, _| {
                let kind = RuleKind::Record("queue:quebert_new:ratio".to_owned());
                let expr = "quebert_ready{job=~\"quebert.*\"}".to_owned();
                bundle.groups[0].rules.push(Rule { kind, expr, labels: Vec::new() });
            }),
        },
    ]
}

fn surroundings() -> Vec<Mutant> {
    vec![
        Mutant {
            name: "there are too many series",
            rule: "series-budget",
            spoil: Box::new(|_, view| view.series_max = 100),
        },
        Mutant {
            name: "the job has another name",
            rule: "known-metrics",
            spoil: Box::new(|_, view| view.job = "dispatcher".to_owned()),
        },
    ]
}

/// Another text in the queries of a board. It must stand there.
fn query(name: &'static str, rule: &'static str, board: &'static str, from: &str, to: &str) -> Mutant {
    let inner = |text: &str| {
        let text = Value::from(text).to_string();
        text[1..text.len() - 1].to_owned()
    };
    let (from, to) = (inner(from), inner(to));
    let spoil = move |bundle: &mut Bundle, _: &mut View| {
        let board = bundle.boards.iter_mut().find(|b| b["uid"] == format!("quebert-{board}")).unwrap();
        let text = board["panels"].to_string();
        assert!(text.contains(&from), "{name}: there is no {from}");
        board["panels"] = serde_json::from_str(&text.replace(&from, &to)).unwrap();
    };
    Mutant { name, rule, spoil: Box::new(spoil) }
}

/// Something else about the overview.
fn board(name: &'static str, rule: &'static str, spoil: impl Fn(&mut Value) + 'static) -> Mutant {
    Mutant { name, rule, spoil: Box::new(move |bundle, _| spoil(&mut bundle.boards[0])) }
}

/// Another value in the overview. Something must stand there.
fn set(name: &'static str, rule: &'static str, at: &'static str, value: Value) -> Mutant {
    board(name, rule, move |board| {
        *board.pointer_mut(at).unwrap_or_else(|| panic!("{name}: there is no {at}")) = value.clone();
    })
}

/// Another text in the first rule of that name.
fn rule(name: &'static str, breaks: &'static str, of: &'static str, from: &'static str, to: &'static str) -> Mutant {
    let spoil = move |bundle: &mut Bundle, _: &mut View| {
        let rule = bundle.groups.iter_mut().flat_map(|g| &mut g.rules).find(|rule| rule.name() == of).unwrap();
        assert!(rule.expr.contains(from), "{name}: there is no {from}");
        rule.expr = rule.expr.replace(from, to);
    };
    Mutant { name, rule: breaks, spoil: Box::new(spoil) }
}

//! The gate: real dispatchers, a real RabbitMQ, a real Prometheus, and every question that dashboards and rules ask. And the gate's own
//! test: whatever is spoilt in them is found, at the same Prometheus. How dashboards look is not judged.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod command;
mod leak;
mod mutants;
#[path = "../program/process.rs"]
#[expect(dead_code, reason = "another test's module, of which this one needs a part")]
mod process;
mod prometheus;
mod world;

use mutants::mutants;
use process::done;
use prometheus::Prometheus;
use quebert_dashboards::{
    Bundle, Settings,
    check::{Answers, Finding, Question, View, Weight, by_itself, judge, questions},
};
use std::collections::btree_map::Entry;
use world::World;

/// What is an exception here, with why. That something is not there is none: everything is.
const EXCUSED: [&str; 3] = [
    "recorded sums have no instance",
    "RabbitMQ's nodes are other instances than ours",
    "a rate would hide what is missing for good",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_an_answer_and_every_fault_is_found() {
    let world = World::start().await;
    let prometheus = Prometheus::start(&world.targets(), world.rabbit()).await;
    prometheus.seen_enough(&world).await;

    // As a user does it.
    let out = prometheus.url();
    let args = ["dashboards", "check", "--prometheus", &out, "--span", "20s", "--rate-interval", "10s", "--strict"];
    let checked = done(&args, "").await;
    assert_eq!(checked.code, Some(0), "{}{}", checked.out, checked.err);

    // From here on all look at the same run, as it is now.
    let view = prometheus.view();
    world.stop().await;
    let mut asked = Answers::new();
    let bundle = Bundle::new(&Settings::default());
    let findings = check(&prometheus, &bundle, &view, &mut asked).await;
    let strangers = findings
        .iter()
        .filter(|finding| finding.weight != Weight::Excused || !EXCUSED.contains(&finding.what.as_str()));
    assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&Finding>::new());

    // The points in the panels of histograms: single tasks, which lead to the logs.
    let examples = Question {
        path: "/api/v1/query_exemplars".to_owned(),
        query: vec![
            ("query", "quebert_task_wait_seconds_bucket".to_owned()),
            ("start", (view.end - view.span).to_string()),
            ("end", view.end.to_string()),
        ],
    };
    let examples = prometheus.ask(&examples).await.unwrap();
    assert!(examples[0]["exemplars"][0]["labels"]["task_id"].is_string(), "no example of a wait: {examples}");

    let mut missed = Vec::new();
    for mutant in mutants() {
        let (mut bundle, mut view) = (bundle.clone(), view.clone());
        (mutant.spoil)(&mut bundle, &mut view);
        let found = check(&prometheus, &bundle, &view, &mut asked).await;
        let found = found.into_iter().filter(|finding| !findings.contains(finding)).collect::<Vec<_>>();
        if !found.iter().any(|finding| finding.weight != Weight::Excused && finding.rule == mutant.rule) {
            missed.push(format!("{} should break {}: {found:#?}", mutant.name, mutant.rule));
        }
    }
    assert!(missed.is_empty(), "the gate is blind:\n{}", missed.join("\n"));
}

/// Only what was not asked before is asked.
async fn check(prometheus: &Prometheus, bundle: &Bundle, view: &View, asked: &mut Answers) -> Vec<Finding> {
    for question in questions(bundle, view) {
        if let Entry::Vacant(unasked) = asked.entry(question) {
            let answer = prometheus.ask(unasked.key()).await;
            unasked.insert(answer);
        }
    }
    let mut findings = by_itself(bundle);
    findings.extend(judge(bundle, view, asked));
    findings
}

//! The verdict and the thresholds as JUnit's XML, which every CI knows to show: a promise or a threshold is a test case. It
//! has no figures but those that were judged.

use super::{
    Report,
    markup::{Element, el},
};

/// The file.
pub fn junit(report: &Report) -> String {
    let validity = (!report.validity.valid).then(|| report.validity.reasons.join("; "));
    let promises = report.verdict.findings.iter().map(|finding| {
        let words = format!("found {}: {}", finding.found, finding.note);
        case("promises", &finding.name, (!finding.ok).then_some(words))
    });
    let thresholds = report.thresholds.iter().map(|threshold| {
        let found = threshold.found.map_or("nothing to measure".to_owned(), |found| format!("found {found}"));
        case("thresholds", &threshold.text, (!threshold.ok).then_some(found))
    });
    let cases = [case("run", "valid", validity)].into_iter().chain(promises).chain(thresholds).collect::<Vec<_>>();
    let failed = cases.iter().filter(|(_, failed)| *failed).count();
    let counts = |element: Element| {
        let element = element.attr("tests", cases.len().to_string()).attr("failures", failed.to_string());
        element.num("time", report.plan_s + report.settle_s)
    };
    let suite = counts(el("testsuite").attr("name", "quebert-loadtest")).attr("errors", "0").attr("skipped", "0");
    let suite = suite.children(cases.iter().map(|(element, _)| element.clone()));
    let suites = counts(el("testsuites").attr("name", "quebert-loadtest")).child(suite);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", suites.render())
}

/// A test case, and whether it failed.
fn case(class: &str, name: &str, failure: Option<String>) -> (Element, bool) {
    let element = el("testcase").attr("classname", format!("loadtest.{class}")).attr("name", name);
    match failure {
        None => (element, false),
        Some(words) => (element.child(el("failure").attr("message", words.clone()).text(words)), true),
    }
}

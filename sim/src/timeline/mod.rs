//! A run as a page of its own: hosts as rows, time from left to right. It is looked at, never read back.

use crate::{case::Case, history::TaskNo, net::Kind, run::Report, trace};

/// The page. `task` is the one that is highlighted when it opens.
pub fn page(case: &Case, kind: Kind, report: &Report, _task: Option<TaskNo>) -> String {
    let text = trace::text(case, kind, &report.entries).replace('&', "&amp;").replace('<', "&lt;");
    format!("<!doctype html><meta charset=utf-8><title>quebert-sim</title><pre>{text}</pre>\n")
}

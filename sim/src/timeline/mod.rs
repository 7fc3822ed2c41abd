//! A run as a page of its own: hosts as rows, virtual time from left to right, messages, attempts and faults on it, and one
//! task's story beside it. The page needs no network and no server. It is looked at, never read back.

mod copies;
mod data;
mod follow;
#[cfg(test)]
mod tests;

use crate::{case::Case, history::TaskNo, net::Kind, run::Report};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 3] = [include_str!("view.js"), include_str!("panel.js"), include_str!("start.js")];

/// The page. `task` is the one that is highlighted when it opens; another one can be named behind the page's address, as
/// in `timeline.html#task=t17` or `timeline.html?task=t17`.
pub fn page(case: &Case, kind: Kind, report: &Report, task: Option<TaskNo>) -> String {
    let data = serde_json::to_string(&data::Run::new(case, kind, report, task)).expect("plain data");
    let parts = [
        ("title", escape(&data::title(case))),
        ("style", STYLE.to_owned()),
        ("data", inert(&data)),
        ("script", script()),
    ];
    fill(HTML, &parts)
}

/// Puts each part where the template names it: `{{name}}`. What is put in is never looked through for names again.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let size: usize = parts.iter().map(|(_, text)| text.len()).sum();
    let mut page = String::with_capacity(template.len() + size);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the template closes what it opens");
        let (_, text) = parts.iter().find(|(known, _)| *known == name).expect("the template names only parts");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// All scripts as one, in a scope of its own.
fn script() -> String {
    format!("(() => {{\n'use strict';\n{}\n}})();", SCRIPTS.concat())
}

/// As text of HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// JSON that no parser of HTML finds anything in: a `<` can only stand in a string, where it may be written so.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

//! `report`: what was measured before, in a form for people or for CI. Nothing is run, and nothing judged again.

use super::{Error, out};
use crate::report::{Document, Report, exit, html, html_sweep, junit, markdown, markdown_sweep};
use clap::Args;
use std::{fs, path::PathBuf};

/// The forms for people.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Pages {
    /// Write a page with plots, in one file that needs nothing else; `-` is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the summary in Markdown; `-` is standard output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// The forms of a report besides JSON.
#[derive(Debug, Clone, Args)]
pub(super) struct Forms {
    #[command(flatten)]
    pages: Pages,
    /// Write promises and thresholds as JUnit's XML; `-` is standard output
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// A file that `--json` wrote, of a run or of a sweep
    report: PathBuf,
    #[command(flatten)]
    forms: Forms,
}

impl Pages {
    /// Writes what was asked for.
    pub(super) fn write(&self, html: impl FnOnce() -> String, markdown: impl FnOnce() -> String) -> Result<(), Error> {
        if let Some(path) = &self.html {
            out::write(path, &html())?;
        }
        self.markdown.as_ref().map_or(Ok(()), |path| out::write(path, &markdown()))
    }

    /// Whether standard output is one of them, so that nothing else may be written to it.
    pub(super) fn to_stdout(&self) -> bool {
        [&self.html, &self.markdown].into_iter().flatten().any(|path| path.as_os_str() == "-")
    }
}

impl Forms {
    /// Writes what was asked for.
    pub(super) fn write(&self, report: &Report) -> Result<(), Error> {
        self.pages.write(|| html(report), || markdown(report))?;
        self.junit.as_ref().map_or(Ok(()), |path| out::write(path, &junit(report)))
    }
}

/// Without any form, the summary in Markdown goes to standard output.
pub(super) fn report(args: &ReportArgs) -> Result<u8, Error> {
    let text = fs::read_to_string(&args.report).map_err(|e| Error::Read(args.report.clone(), e))?;
    let document = text.parse::<Document>().map_err(|e| Error::Document(args.report.clone(), e))?;
    let mut forms = args.forms.clone();
    if forms.pages.html.is_none() && forms.pages.markdown.is_none() && forms.junit.is_none() {
        forms.pages.markdown = Some(PathBuf::from("-"));
    }
    match document {
        Document::Run(report) => forms.write(&report)?,
        Document::Sweep(_) if forms.junit.is_some() => {
            return Err(Error::Usage("a sweep has no verdict: there is nothing that JUnit could show".to_owned()));
        }
        Document::Sweep(sweep) => forms.pages.write(|| html_sweep(&sweep), || markdown_sweep(&sweep))?,
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, sweep_fixture};

    #[test]
    fn each_form_that_is_asked_for_is_written_and_a_sweep_has_no_junit() {
        let folder = std::env::temp_dir().join(format!("quebert-loadtest-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        let forms = || Forms {
            pages: Pages { html: Some(path("page.html")), markdown: Some(path("summary.md")) },
            junit: Some(path("junit.xml")),
        };
        fs::write(path("report.json"), serde_json::to_string(&fixture()).unwrap()).unwrap();
        let code = report(&ReportArgs { report: path("report.json"), forms: forms() }).unwrap();
        let text = |name: &str| fs::read_to_string(path(name)).unwrap();
        assert_eq!(code, exit::OK);
        assert!(text("page.html").starts_with("<!DOCTYPE html>") && text("summary.md").starts_with("## Load test"));
        assert!(text("junit.xml").contains("<testsuites"));

        fs::write(path("sweep.json"), serde_json::to_string(&sweep_fixture()).unwrap()).unwrap();
        let refused = report(&ReportArgs { report: path("sweep.json"), forms: forms() }).unwrap_err().to_string();
        assert!(refused.contains("a sweep has no verdict"), "{refused}");
        let code = report(&ReportArgs { report: path("sweep.json"), forms: Forms { junit: None, ..forms() } }).unwrap();
        assert_eq!((code, text("summary.md").starts_with("## Sweep")), (exit::OK, true));
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! `report`: what was measured before, in a form for people or for CI. Nothing is run, and nothing judged again.

use super::{Error, out};
use crate::report::{Document, Report, exit, html, html_sweep, junit, markdown, markdown_sweep};
use clap::Args;
use std::{fs, path::PathBuf};

/// The forms of a report besides JSON.
#[derive(Debug, Clone, Args)]
pub(super) struct Forms {
    /// Write a page with plots, in one file that needs nothing else; `-` is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the summary in Markdown; `-` is standard output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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

impl Forms {
    /// Writes what was asked for.
    pub(super) fn write(&self, report: &Report) -> Result<(), Error> {
        let write = |path: &Option<PathBuf>, form: fn(&Report) -> String| match path {
            Some(path) => out::write(path, &form(report)),
            None => Ok(()),
        };
        write(&self.html, html)?;
        write(&self.markdown, markdown)?;
        write(&self.junit, junit)
    }
}

/// Without any form, the summary in Markdown goes to standard output.
pub(super) fn report(args: &ReportArgs) -> Result<u8, Error> {
    let text = fs::read_to_string(&args.report).map_err(|e| Error::Read(args.report.clone(), e))?;
    let document = text.parse::<Document>().map_err(|e| Error::Document(args.report.clone(), e))?;
    let mut forms = args.forms.clone();
    if forms.html.is_none() && forms.markdown.is_none() && forms.junit.is_none() {
        forms.markdown = Some(PathBuf::from("-"));
    }
    match document {
        Document::Run(report) => forms.write(&report)?,
        Document::Sweep(_) if forms.junit.is_some() => {
            return Err(Error::Usage("a sweep has no verdict: there is nothing that JUnit could show".to_owned()));
        }
        Document::Sweep(sweep) => {
            if let Some(path) = &forms.html {
                out::write(path, &html_sweep(&sweep))?;
            }
            if let Some(path) = &forms.markdown {
                out::write(path, &markdown_sweep(&sweep))?;
            }
        }
    }
    Ok(exit::OK)
}

//! `verify`: a ledger is judged again. Nothing is run.

use super::{Error, out};
use crate::{
    ledger::{Judged, LedgerFile, Verdict},
    report::exit,
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A file that `run --ledger` wrote
    ledger: PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(args: &VerifyArgs) -> Result<u8, Error> {
    let verdict = LedgerFile::open(&args.ledger)?.judge();
    let ok = verdict.ok;
    if args.json {
        out::print(&serde_json::to_string_pretty(&Judged::from(verdict)).expect("a verdict is plain data"))?;
    } else {
        for line in lines(&verdict) {
            out::print(&line)?;
        }
    }
    Ok(if ok { exit::OK } else { exit::VERIFICATION })
}

/// The verdict, a line for each promise.
pub(super) fn lines(verdict: &Verdict) -> Vec<String> {
    let mut lines = vec![format!(
        "{} published, {} confirmed, {} executed in {} attempts, {} succeeded, {} dead ({} expired), {} left",
        verdict.published,
        verdict.confirmed,
        verdict.executed,
        verdict.attempts,
        verdict.succeeded,
        verdict.dead,
        verdict.expired,
        verdict.left,
    )];
    for finding in &verdict.findings {
        let mark = if finding.ok { "ok    " } else { "BROKEN" };
        lines.push(format!("{mark}  {:<32} {:>8}  {}", finding.name, finding.found, finding.note));
    }
    for fault in &verdict.faults {
        lines.push(format!("fault   {}  (from {:.1} s to {:.1} s)", fault.what, fault.from_s, fault.until_s));
    }
    if !verdict.lost_ids.is_empty() {
        lines.push(format!("lost: {}", verdict.lost_ids.join(", ")));
    }
    if !verdict.unexplained_ids.is_empty() {
        lines.push(format!("unexplained: {}", verdict.unexplained_ids.join(", ")));
    }
    lines
}

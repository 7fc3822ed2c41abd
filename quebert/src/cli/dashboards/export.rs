//! `quebert dashboards export`: writes the files. It overwrites its own of last time and touches no others.

use super::{Failure, ForArgs, SourceArgs};
use clap::Args;
use quebert_dashboards::{Bundle, files};
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// Flags of `quebert dashboards export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    made_for: ForArgs,
    /// Folder to write to; it is made if it isn't there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn export(sources: &SourceArgs, args: &ExportArgs) -> Result<(), Failure> {
    let settings = args.made_for.settings(sources)?;
    let made = files(&Bundle::new(&settings));
    for file in &made {
        let path = args.out.join(&file.path);
        let folder = path.parent().expect("every file lies in a folder");
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, &file.text)).map_err(|source| {
            let source = io::Error::new(source.kind(), format!("{}: {source}", path.display()));
            Failure::other("write the dashboards", source)
        })?;
    }
    let mut out = io::stdout();
    for file in &made {
        writeln!(out, "{}", args.out.join(&file.path).display())?;
    }
    let queues = if settings.queues.is_empty() { "all queues".to_owned() } else { settings.queues.join(", ") };
    writeln!(out, "{} files for {queues}, job {}", made.len(), settings.job)?;
    Ok(())
}

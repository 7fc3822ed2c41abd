//! `quebert dashboards`: Grafana boards, Prometheus rules and alerts for one's own config, and a look whether they find what
//! they ask for. What they are is the business of the crate `quebert-dashboards`; here are flags, files and words.

mod check;
mod export;

use super::{Failure, SourceArgs};
use clap::{Args, Subcommand};
use quebert_dashboards::Settings;

/// Flags of `quebert dashboards`.
#[derive(Debug, Args)]
pub(super) struct DashboardsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write Grafana dashboards, Prometheus rules and alerts, and provisioning files into a folder
    Export(export::ExportArgs),
    /// Ask your Prometheus whether every panel and rule has data; exit code 1 if something is wrong
    Check(check::CheckArgs),
}

/// What dashboards and rules are made for.
#[derive(Debug, Args)]
struct ForArgs {
    /// Queues, with commas between; without, those of the config file, or all if there is none
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    queues: Vec<String>,
    /// Objectives: the percentage of tasks that succeed, and that wait no longer than a time for their first attempt
    #[arg(long, value_name = "SLO", default_value = "delivery=99.9,wait=5s:99")]
    slo: String,
    /// Regular expression of Prometheus' job names of your dispatchers
    #[arg(long, value_name = "NAME", default_value = "quebert.*")]
    job: String,
    /// Where alerts link to for their runbooks, with the slash at the end; without, to the project's own
    #[arg(long, value_name = "URL")]
    runbooks: Option<String>,
    /// Address of your Grafana, for the links from alerts to dashboards
    #[arg(long, value_name = "URL", default_value = "")]
    grafana: String,
}

impl ForArgs {
    /// The config says which queues there are and what their names at RabbitMQ begin with, if there is a file.
    fn settings(&self, sources: &SourceArgs) -> Result<Settings, Failure> {
        let mut settings = Settings { job: self.job.clone(), grafana: self.grafana.clone(), ..Settings::default() };
        let has_file = sources.sources()?.file.is_some();
        let config = sources.load()?;
        settings.queue_prefix.clone_from(&config.topology.prefix);
        if !self.queues.is_empty() {
            settings.queues.clone_from(&self.queues);
        } else if has_file {
            settings.queues = config.core.lanes.iter().map(|lane| lane.name.to_string()).collect();
        }
        let own = config.metrics_slo.iter().map(std::time::Duration::as_secs_f64).collect::<Vec<_>>();
        let read = settings.objectives.read(&self.slo, &own);
        settings.objectives = read.map_err(|why| Failure::Usage(format!("--slo: {why}")))?;
        if let Some(runbooks) = &self.runbooks {
            settings.runbooks.clone_from(runbooks);
        }
        Ok(settings)
    }
}

pub(super) async fn dashboards(sources: &SourceArgs, args: &DashboardsArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Export(args) => export::export(sources, args),
        Command::Check(args) => check::check(sources, args).await,
    }
}

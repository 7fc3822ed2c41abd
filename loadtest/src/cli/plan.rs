//! `plan`: from a workload, assumed or measured, to so many dispatchers with so many slots. It may make a short run to
//! calibrate; otherwise nothing is started.

use super::{Error, out, profile::WorkloadArgs, report::Pages, runtime, simulate::TimingArgs};
use crate::{
    plan::{Measured, Plan, Question, Slo, busiest, markdown, plan, text},
    quantity::{self, Unclear},
    report::{Document, Report, exit, html_plan},
    run::{self, Config, Profile},
    simulate::Timing,
};
use clap::Args;
use std::{fs, path::PathBuf, time::Duration};

/// The rate of a calibration at most: what is looked for is what one attempt costs.
const CALIBRATION_RATE_MAX: f64 = 50.0;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// A JSON report of `run`: its rate, executors and retries are planned for, and it calibrates
    report: Option<PathBuf>,
    /// Tasks a second, such as 2000/s [default: those of the report's busiest phase]
    #[arg(long, value_parser = quantity::rate, required_unless_present = "report")]
    rate: Option<f64>,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// What is demanded, such as "wait.p99<500ms" or "done.p95<2s"
    #[arg(long, default_value = "wait.p99<500ms", value_name = "DEMAND")]
    slo: Slo,
    /// The most dispatchers
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    dispatchers_max: u32,
    /// The share of slots that may be busy on average
    #[arg(long, default_value = "80%", value_parser = busy)]
    busy_max: f64,
    /// The demand need not hold while a dispatcher is lost
    #[arg(long)]
    no_spare: bool,
    /// The outage of all executors that is asked about
    #[arg(long, default_value = "10m", value_parser = quantity::duration)]
    outage: Duration,
    #[command(flatten)]
    timing: TimingArgs,
    /// Make a short run on this machine first, of this length, and plan with what it shows
    #[arg(long, value_name = "LENGTH", num_args = 0..=1, default_missing_value = "20s")]
    calibrate: Option<String>,
    /// Where the run's tasks wait: private-rabbitmq, embedded, or an amqp:// address [default: embedded]
    #[arg(long, requires = "calibrate")]
    broker: Option<String>,
    /// The program to start; without it, the `quebert` beside this program
    #[arg(long, requires = "calibrate")]
    quebert: Option<String>,
    /// Tasks of each simulation
    #[arg(long, default_value = "20k", value_parser = quantity::count)]
    tasks: u64,
    /// Write the plan as JSON; `-` is standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    pages: Pages,
}

fn busy(text: &str) -> Result<f64, Unclear> {
    let share = quantity::share(text)?;
    if (0.05..=0.99).contains(&share) { Ok(share) } else { Err(Unclear::new("a share from 5% to 99%", text)) }
}

pub(super) fn make(args: &PlanArgs) -> Result<u8, Error> {
    let report = args.report.as_ref().map(read).transpose()?;
    let profile = profile(args, report.as_ref());
    let rate = args.rate.or(report.as_ref().map(busiest)).unwrap_or(0.0);
    let report = match &args.calibrate {
        Some(length) => Some(calibrate(args, &profile, rate, length)?),
        None => report,
    };
    let measured = report.as_ref().and_then(Measured::new);
    if report.is_some() && measured.is_none() {
        out::tell("the report tells nothing of its dispatchers' attempts, or is of a closed plan: it can't calibrate");
    }
    let question = Question {
        profile,
        rate,
        slo: args.slo,
        timing: args.timing.over(measured.as_ref().map_or_else(Timing::default, |measured| measured.timing)),
        dispatchers_max: args.dispatchers_max,
        busy_max: args.busy_max,
        spare: !args.no_spare && args.dispatchers_max > 1,
        outage: args.outage,
        tasks: args.tasks.clamp(1_000, 10_000_000),
        measured,
    };
    let plan = plan(&question).map_err(|e| Error::Usage(e.to_string()))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&plan).expect("a plan is plain data");
        out::write(path, &text)?;
    }
    args.pages.write(|| html_plan(&plan), || markdown(&plan))?;
    if args.json.as_ref().is_none_or(|path| path.as_os_str() != "-") && !args.pages.to_stdout() {
        out::print(text(&plan).trim_end())?;
    }
    Ok(code(&plan))
}

/// A plan that rests on a run which says nothing is no plan, whatever it recommends.
fn code(plan: &Plan) -> u8 {
    match (&plan.calibrated, &plan.recommended) {
        (Some(measured), _) if !measured.doubts.is_empty() => exit::INVALID,
        (_, None) => exit::THRESHOLD,
        (_, Some(_)) => exit::OK,
    }
}

fn read(path: &PathBuf) -> Result<Report, Error> {
    let text = fs::read_to_string(path).map_err(|e| Error::Read(path.clone(), e))?;
    match text.parse::<Document>().map_err(|e| Error::Document(path.clone(), e))? {
        Document::Run(report) => Ok(*report),
        Document::Sweep(_) => Err(Error::Usage(format!("{}: a plan is made of a run, not of a sweep", path.display()))),
    }
}

fn profile(args: &PlanArgs, report: Option<&Report>) -> Profile {
    let mut profile = report.map(|report| report.profile.clone()).unwrap_or_default();
    args.workload.apply(&mut profile);
    profile
}

/// A run with one dispatcher, at a rate that it can do, with half of its slots busy.
fn calibrate(args: &PlanArgs, profile: &Profile, rate: f64, length: &str) -> Result<Report, Error> {
    let rate = rate.min(CALIBRATION_RATE_MAX);
    let base = Profile { broker: "private-rabbitmq".into(), faults: Vec::new(), ..profile.clone().without_external() };
    let checked = Config::try_from(Profile { arrivals: format!("poisson {rate:.3}/s {length}"), ..base })?;
    let demand = crate::plan::demand(&checked);
    let slots = (2.0 * rate * demand.attempts_per_task * demand.work_s).ceil().clamp(4.0, 1000.0);
    let queue = checked.mix.queues()[0];
    let run = Profile {
        arrivals: format!("poisson {rate:.3}/s {length}"),
        queues: vec![format!("name={queue} slots={slots}")],
        broker: args.broker.clone().unwrap_or_else(|| "embedded".to_owned()),
        dispatchers: 1,
        faults: Vec::new(),
        thresholds: Vec::new(),
        quebert: args.quebert.clone().or_else(|| profile.quebert.clone()),
        ..profile.clone().without_external()
    };
    out::tell(&format!("calibrating: {}, {slots} slots, {}", run.arrivals, run.broker));
    Ok(runtime()?.block_on(run::run(Config::try_from(run)?, |_| {}, None))?)
}

//! `run`: a profile from a file and flags, a line a second, and the report in the forms that are asked for.

use super::{Error, out, runtime, verify};
use crate::{
    quantity::Span,
    report::{Report, exit, markdown},
    run::{self, Config, Live, Profile},
};
use clap::Args;
use std::{fs, path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// A flag wins over the profile's file, and the file over the defaults.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A TOML file with the fields of a profile
    #[arg(long)]
    profile: Option<PathBuf>,
    /// When tasks come, such as "poisson 500/s 60s" [default: constant 100/s 10s]
    #[arg(long)]
    arrivals: Option<String>,
    /// Which tasks come, such as "queue=high to=slow weight=3 size=exp:300 ttl=10s delay=uniform:1s,5s"; repeatable
    #[arg(long, value_name = "WORDS")]
    mix: Vec<String>,
    /// An executor, such as "name=slow latency=exp:50ms status=503:3% limit=200/s outage=refuse:10s..15s"; repeatable
    #[arg(long = "executor", value_name = "WORDS")]
    executors: Vec<String>,
    /// A queue, such as "name=high priority=2 slots=64 window=80"; repeatable
    #[arg(long = "queue", value_name = "WORDS")]
    queues: Vec<String>,
    /// private-rabbitmq, embedded, an amqp:// address, or the http:// address of an API [default: embedded]
    #[arg(long)]
    broker: Option<String>,
    /// Dispatchers to start [default: 1]
    #[arg(long)]
    dispatchers: Option<u32>,
    /// Admin address of a dispatcher that runs; then none is started; repeatable
    #[arg(long, value_name = "ADDRESS")]
    external: Vec<String>,
    /// The program to start; without it, the `quebert` beside this program
    #[arg(long)]
    quebert: Option<String>,
    /// Names of queues begin with this [default: quebert-loadtest]
    #[arg(long)]
    prefix: Option<String>,
    /// quorum or classic [default: quorum]
    #[arg(long)]
    queue_type: Option<String>,
    /// A further setting of the dispatchers, KEY=VALUE; repeatable
    #[arg(long)]
    set: Vec<String>,
    /// Attempts of a task in all; 0 is without limit [default: 20]
    #[arg(long)]
    max_attempts: Option<u32>,
    /// The shortest delay between two attempts [default: 1s]
    #[arg(long)]
    backoff_min: Option<String>,
    /// The longest [default: 1m]
    #[arg(long)]
    backoff_max: Option<String>,
    /// Unconfirmed publishes at a time, into RabbitMQ [default: 256]
    #[arg(long)]
    publish_window: Option<u16>,
    /// Everything random is drawn from this [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Tasks intended before this are left out of the latencies [default: 0s]
    #[arg(long)]
    warm_up: Option<String>,
    /// How long to wait after the plan until nothing is open [default: 60s]
    #[arg(long)]
    settle: Option<String>,
    /// How late the tester may be itself at the 99th percentile [default: 5ms]
    #[arg(long)]
    start_lag_max: Option<String>,
    /// How much later than its expiry an attempt may reach the executor's code [default: 100ms]
    #[arg(long)]
    late_grace: Option<String>,
    /// A run that did not become steady is invalid
    #[arg(long)]
    require_steady: bool,
    /// A demand, such as "wait.p99<500ms", "wait@high.p99<50ms", "lost==0" or "duplicates/tasks<0.1%"; repeatable
    #[arg(long = "threshold", value_name = "DEMAND", num_args = 1..)]
    thresholds: Vec<String>,
    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the summary in Markdown; `-` is standard output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the ledger, to be judged again by `verify`
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Tell nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: RunArgs) -> Result<u8, Error> {
    let (json, markdown_to, ledger, quiet) =
        (args.json.clone(), args.markdown.clone(), args.ledger.clone(), args.quiet);
    let config = Config::try_from(profile(args)?)?;
    let tell = |live: &Live| {
        if !quiet {
            out::tell(&line(live));
        }
    };
    let report = runtime()?.block_on(async {
        tokio::select! {
            biased;
            // Whatever was started for the run ends with the future that is dropped here.
            () = interrupted() => Ok(None),
            report = run::run(config, tell, ledger.as_deref()) => report.map(Some),
        }
    })?;
    let Some(report) = report else {
        out::tell("interrupted: nothing is reported");
        return Ok(exit::INVALID);
    };
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        out::write(&path, &text)?;
    }
    if let Some(path) = markdown_to {
        out::write(&path, &markdown(&report))?;
    }
    if !quiet {
        summary(&report).iter().for_each(|line| out::tell(line));
    }
    Ok(report.exit_code)
}

/// Waits for SIGINT or SIGTERM; for ever, if neither can be waited for.
async fn interrupted() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let Ok(mut int) = signal(SignalKind::interrupt()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn profile(args: RunArgs) -> Result<Profile, Error> {
    let mut profile = match &args.profile {
        None => Profile::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| Error::Read(path.clone(), e))?;
            toml::from_str(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?
        }
    };
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    fn lines(field: &mut Vec<String>, values: Vec<String>) {
        if !values.is_empty() {
            *field = values;
        }
    }
    set(&mut profile.arrivals, args.arrivals);
    lines(&mut profile.mix, args.mix);
    lines(&mut profile.executors, args.executors);
    lines(&mut profile.queues, args.queues);
    set(&mut profile.broker, args.broker);
    set(&mut profile.dispatchers, args.dispatchers);
    lines(&mut profile.external, args.external);
    profile.quebert = args.quebert.or(profile.quebert);
    set(&mut profile.prefix, args.prefix);
    set(&mut profile.queue_type, args.queue_type);
    lines(&mut profile.set, args.set);
    set(&mut profile.max_attempts, args.max_attempts);
    set(&mut profile.backoff_min, args.backoff_min);
    set(&mut profile.backoff_max, args.backoff_max);
    set(&mut profile.publish_window, args.publish_window);
    set(&mut profile.seed, args.seed);
    set(&mut profile.warm_up, args.warm_up);
    set(&mut profile.settle, args.settle);
    set(&mut profile.start_lag_max, args.start_lag_max);
    set(&mut profile.late_grace, args.late_grace);
    profile.require_steady |= args.require_steady;
    lines(&mut profile.thresholds, args.thresholds);
    Ok(profile)
}

fn line(live: &Live) -> String {
    let rate = |n: u64| format!("{:>6.0}/s", n as f64 / live.seconds);
    let (p50, p99) = live.wait;
    let phase = if live.phase.is_empty() { "settling" } else { &live.phase };
    let ready = live.ready.map_or("?".to_owned(), |ready| ready.to_string());
    format!(
        "{:>5.0} s  {phase:<12}  offered {}  accepted {}  done {}  wait p50 {:>7} p99 {:>7}  under way {}  ready {ready}  open {}  failed {}  dup {}",
        live.at.as_secs_f64(),
        rate(live.since.offered),
        rate(live.since.confirmed),
        rate(live.since.succeeded),
        Span(p50),
        Span(p99),
        live.counts.under_way,
        live.counts.open,
        live.counts.failures,
        live.counts.duplicates + live.counts.repeats,
    )
}

fn summary(report: &Report) -> Vec<String> {
    let rates = &report.throughput;
    let mut lines = vec![String::new()];
    for (name, latency) in &report.latency {
        let told = |us: u64| Span(Duration::from_micros(us)).to_string();
        let s = &latency.summary;
        lines.push(format!(
            "{name:<20} {:>9}  p50 {:>8}  p90 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8}",
            s.count,
            told(s.p50_us),
            told(s.p90_us),
            told(s.p99_us),
            told(s.p999_us),
            told(s.max_us),
        ));
    }
    if report.closed {
        lines.push("closed: latency excludes waiting of the client".to_owned());
    }
    lines.push(format!(
        "offered {:.0}/s, accepted {:.0}/s, done {:.0}/s, {:.2} attempts a task; settled {:.1} s after the plan",
        rates.offered_per_s, rates.accepted_per_s, rates.done_per_s, rates.attempts_per_task, report.settle_s,
    ));
    for process in &report.processes {
        let mib = process.rss_peak_bytes as f64 / 1_048_576.0;
        lines.push(format!(
            "{:<20} {:.2} CPU s, {:.3} for 1,000 tasks, at most {mib:.0} MiB",
            process.name, process.cpu_s, process.cpu_per_1k_s
        ));
    }
    lines.extend(report.bottlenecks.first().map(|b| format!("bottleneck: {} ({})", b.name, b.evidence)));
    lines.push(String::new());
    lines.extend(verify::lines(&report.verdict));
    lines.extend(report.validity.reasons.iter().map(|reason| format!("INVALID  {reason}")));
    lines.extend(report.validity.warnings.iter().map(|warning| format!("note     {warning}")));
    for threshold in &report.thresholds {
        let found = threshold.found.map_or("nothing to measure".to_owned(), |found| found.to_string());
        lines.push(format!("{}  {}  ({found})", if threshold.ok { "kept  " } else { "MISSED" }, threshold.text));
    }
    let words = match report.exit_code {
        exit::OK => "well",
        exit::THRESHOLD => "a threshold was missed",
        exit::VERIFICATION => "a promise was broken",
        _ => "the run is invalid",
    };
    lines.push(format!("exit {}: {words}", report.exit_code));
    lines
}

//! `quebert dashboards check`: asks a Prometheus all that dashboards and rules would ask, and tells what has no answer. It
//! writes nothing, there or here.

use super::{Failure, ForArgs, SourceArgs};
use crate::{
    cli::client::{Call, Client, ClientError},
    config::{Secret, Span},
};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use quebert_dashboards::{
    Bundle,
    check::{Answers, Finding, Question, View, Weight, by_itself, judge, questions},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Flags of `quebert dashboards check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    made_for: ForArgs,
    /// Address of your Prometheus, such as http://127.0.0.1:9090
    #[arg(long, value_name = "URL")]
    prometheus: String,
    /// File that holds a bearer token for it
    #[arg(long, value_name = "FILE")]
    prometheus_token_file: Option<PathBuf>,
    /// How far back to look for values
    #[arg(long, value_name = "TIME", default_value = "1h")]
    span: Span,
    /// What stands for Grafana's $__rate_interval: at least four scrapes
    #[arg(long, value_name = "TIME", default_value = "5m")]
    rate_interval: String,
    /// Most series that one dispatcher may have
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    series_max: u64,
    /// Panels without a value are wrong, too, even if all that they ask for is there
    #[arg(long)]
    strict: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Questions under way at a time.
const AT_ONCE: usize = 4;

pub(super) async fn check(sources: &SourceArgs, args: &CheckArgs) -> Result<(), Failure> {
    let settings = args.made_for.settings(sources)?;
    let bundle = Bundle::new(&settings);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    let span = args.span.0.as_secs_f64();
    let view = View {
        job: settings.job.clone(),
        end: now,
        span,
        // Enough points to meet each value, few enough to be quick.
        step: (span / 120.0).max(1.0).ceil(),
        rate_interval: args.rate_interval.clone(),
        series_max: args.series_max,
    };
    let client = client(args)?;
    let asked = questions(&bundle, &view);
    let answers = ask(&client, asked.iter().cloned()).await?;
    let mut findings = by_itself(&bundle);
    findings.extend(judge(&bundle, &view, &answers));
    findings.sort();
    findings.dedup();
    tell(&findings, asked.len(), args)?;
    let wrong = |finding: &Finding| match finding.weight {
        Weight::Wrong => true,
        Weight::Quiet => args.strict,
        Weight::Excused => false,
    };
    if findings.iter().any(wrong) { Err(Failure::Partly) } else { Ok(()) }
}

fn client(args: &CheckArgs) -> Result<Client, Failure> {
    let token = match &args.prometheus_token_file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|e| Failure::Usage(format!("read the token file {}: {e}", path.display())))?;
            Some(Secret::new(text.trim().to_owned()))
        }
        None => None,
    };
    Client::new(&args.prometheus, token).map_err(|why| Failure::Usage(format!("--prometheus: {why}")))
}

/// A refused question is an answer; a Prometheus that can't be reached is not.
async fn ask(client: &Client, asked: impl Iterator<Item = Question>) -> Result<Answers, Failure> {
    let one = async |question: Question| {
        let query = question.query.iter().map(|(name, value)| (*name, Some(value.clone())));
        let answer = client.plain(Call::get(question.path.clone()).query(query)).await;
        let answer = answer.map_err(|e| Failure::PrometheusAway(Box::new(e)))?;
        Ok::<_, Failure>((question, read(&answer)?))
    };
    let mut answers = Answers::new();
    let mut under_way = stream::iter(asked.map(one)).buffer_unordered(AT_ONCE);
    while let Some(answer) = under_way.next().await {
        let (question, answer) = answer?;
        answers.insert(question, answer);
    }
    Ok(answers)
}

fn read(body: &[u8]) -> Result<Result<Value, String>, Failure> {
    let strange = |what: String| Failure::PrometheusAway(Box::new(ClientError::Strange(what)));
    let mut answer: Value = serde_json::from_slice(body).map_err(|e| strange(e.to_string()))?;
    match answer["status"].as_str() {
        Some("success") => Ok(Ok(answer["data"].take())),
        Some("error") => Ok(Err(answer["error"].as_str().unwrap_or("without a word").to_owned())),
        _ => Err(strange("it has no status".to_owned())),
    }
}

fn tell(findings: &[Finding], asked: usize, args: &CheckArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        for finding in findings {
            let Finding { weight, rule, place, what } = finding;
            writeln!(out, "{}", json!({"weight": word(*weight), "rule": rule, "place": place, "what": what}))?;
        }
        return Ok(());
    }
    for finding in findings.iter().filter(|finding| finding.weight != Weight::Excused) {
        writeln!(out, "{:<7} {finding}", word(finding.weight))?;
    }
    // Exceptions are many and alike.
    let mut excused: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.weight == Weight::Excused) {
        *excused.entry((finding.rule, &finding.what)).or_default() += 1;
    }
    for ((rule, what), count) in excused {
        writeln!(out, "excused {count} times {rule}: {what}")?;
    }
    let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
    writeln!(out, "{asked} questions: {} wrong, {} quiet", count(Weight::Wrong), count(Weight::Quiet))
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Wrong => "wrong",
        Weight::Quiet => "quiet",
        Weight::Excused => "excused",
    }
}

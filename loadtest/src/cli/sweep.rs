//! `sweep`: flags become a grid, and each of its points a line of a table.

use super::{
    Error,
    find::{LengthArgs, PointsArgs, shared},
    interrupted, out,
    profile::ProfileArgs,
    runtime,
};
use crate::{
    quantity::{self, Span, Unclear},
    report::{SweepPoint, exit},
    search::{SweepSpec, is_broken, sweep},
};
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Rates, such as 100,200,400/s
    #[arg(long, required = true, value_parser = rates)]
    rates: Rates,
    /// Slots of every queue, such as 8,16,32 [default: the queues' own]
    #[arg(long, value_delimiter = ',')]
    concurrency: Vec<u32>,
    /// Dispatchers, such as 1,2,4, for each of which all the others are tried [default: --dispatchers alone]
    #[arg(long, value_delimiter = ',')]
    dispatcher_counts: Vec<u32>,
    /// Prefetch windows of every queue, such as 0,16,64; 0 lets the dispatcher derive it [default: the queues' own]
    #[arg(long, value_delimiter = ',')]
    prefetch: Vec<u32>,
    /// A demand that points are held to, such as "wait.p99<200ms"; repeatable
    #[arg(long, num_args = 1.., value_name = "DEMAND")]
    slo: Vec<String>,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    output: PointsArgs,
}

#[derive(Debug, Clone)]
struct Rates(Vec<f64>);

/// `100,200,400/s`: the unit stands once.
fn rates(text: &str) -> Result<Rates, Unclear> {
    let (figures, unit) = text.rsplit_once('/').ok_or_else(|| Unclear::new("rates such as 100,200,400/s", text))?;
    let all = figures.split(',').map(|figure| quantity::rate(&format!("{}/{unit}", figure.trim())));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    if all.iter().all(|rate| *rate > 0.0) { Ok(Rates(all)) } else { Err(Unclear::new("rates above 0", text)) }
}

pub(super) fn sweep_verb(args: SweepArgs) -> Result<u8, Error> {
    let SweepArgs { profile, rates, concurrency, dispatcher_counts, prefetch, slo, length, output } = args;
    let spec = SweepSpec {
        profile: shared(profile, "sweep")?,
        demands: slo,
        rates: rates.0,
        dispatchers: dispatcher_counts,
        slots: concurrency,
        windows: prefetch,
        length: length.length(),
        shape: length.shape,
    };
    let tell = |line: &str| output.tell(line);
    tell(&head());
    let swept = runtime()?.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(None),
            swept = sweep(spec, |_| {}, |point| tell(&row(point))) => swept.map(Some),
        }
    })?;
    let Some(swept) = swept else {
        out::tell("interrupted: nothing is reported");
        return Ok(exit::INVALID);
    };
    swept.notes.iter().for_each(|note| tell(note));
    output.write(&swept, &swept)?;
    Ok(match swept.points.iter().any(|point| point.valid) {
        _ if is_broken(&swept) => exit::VERIFICATION,
        true => exit::OK,
        false => exit::INVALID,
    })
}

fn head() -> String {
    format!(
        "{:<24} {:>10} {:>10} {:>10} {:>10} {:>6}  {:<8} bottleneck",
        "series", "offered/s", "done/s", "wait p50", "wait p99", "busy", "kept"
    )
}

fn row(point: &SweepPoint) -> String {
    let span = |us| Span(Duration::from_micros(us)).to_string();
    let busy = point.utilisation.map_or("?".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let word = match (point.valid, point.ok) {
        (false, _) => "invalid",
        (true, true) => "yes",
        (true, false) => "no",
    };
    let (series, offered, done) = (&point.series, point.offered_per_s, point.achieved_per_s);
    let (p50, p99) = (span(point.p50_us), span(point.p99_us));
    let line = format!(
        "{series:<24} {offered:>10.1} {done:>10.1} {p50:>10} {p99:>10} {busy:>6}  {word:<8} {}",
        point.bottleneck
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_one_unit() {
        assert_eq!(rates("100, 200,400/s").unwrap().0, [100.0, 200.0, 400.0]);
        assert_eq!(rates("60/m").unwrap().0, [1.0]);
        for text in ["100,200", "100/s,200/s", "0/s", "/s"] {
            assert!(rates(text).is_err(), "{text}");
        }
    }
}

//! A plan in words. It leaves out what only a program needs.

use super::{Candidate, Plan};
use crate::quantity::Span;
use std::{fmt::Write as _, time::Duration};

/// The plan for people.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    write(&mut out, plan).expect("a string takes everything");
    out
}

/// The plan for a pull request: its first line as the title, and the rest as it is.
pub fn markdown(plan: &Plan) -> String {
    let text = text(plan);
    let (title, rest) = text.split_once('\n').unwrap_or((&text, ""));
    format!("## {title}\n\n```text\n{}\n```\n", rest.trim_end())
}

fn write(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let attempts = plan.max_attempts.map_or("attempts without limit".to_owned(), |n| format!("{n} attempts"));
    writeln!(
        out,
        "Plan for {}/s, {}, {:.1} % of the attempts fail, {attempts} ({})",
        count(plan.rate),
        plan.slo,
        (1.0 - (1.0 - plan.demand.dead) / plan.demand.attempts_per_task) * 100.0,
        calibration(plan),
    )?;
    let mut line = |name: &str, what: String| writeln!(out, "  {name:<22} {what}");
    let doubts = plan.calibrated.iter().flat_map(|measured| &measured.doubts);
    doubts.clone().try_for_each(|doubt| line("NOT TO BE TRUSTED", doubt.clone()))?;
    line("executors", executors(plan))?;
    line("the machine adds", machine(plan))?;
    line(
        "load with retries",
        format!(
            "{} attempts/s of {}      busy slots needed (Little)  {:.0}",
            count(plan.attempts_per_s),
            seconds(plan.attempt_s),
            plan.busy_slots
        ),
    )?;
    let Some(best) = &plan.recommended else {
        line("recommended", "nothing fulfils the demand: see the alternatives, or ask for less".to_owned())?;
        return rest(out, plan);
    };
    line(
        "recommended",
        format!(
            "{} dispatchers x concurrency {} x prefetch {}      (utilization {:.0} %)",
            best.dispatchers,
            best.slots,
            best.prefetch,
            best.busy * 100.0
        ),
    )?;
    line(
        "expected",
        format!(
            "p50 {}  {} {}  [{}..{}]      throughput limit {}/s",
            seconds(best.p50_s),
            demanded(plan),
            seconds(best.slo_s),
            seconds(best.slo_low_s),
            seconds(best.slo_high_s),
            count(best.tasks_per_s_max),
        ),
    )?;
    line(
        "formulas say",
        format!(
            "{} by Erlang C, {} by Allen-Cunneen (waits in one queue)",
            waits(best.erlang_s),
            waits(best.allen_cunneen_s)
        ),
    )?;
    survives(out, plan, best)?;
    rest(out, plan)
}

fn survives(out: &mut String, plan: &Plan, best: &Candidate) -> std::fmt::Result {
    let loss = match best.loss_s {
        None if best.dispatchers == 1 => "no loss of its only dispatcher".to_owned(),
        None => format!("1 of {} dispatchers down: waits have no end", best.dispatchers),
        Some(s) => format!(
            "1 of {} dispatchers down: {} {} ({})",
            best.dispatchers,
            demanded(plan),
            seconds(s),
            if best.survives_loss { "holds" } else { "misses" }
        ),
    };
    writeln!(out, "  {:<22} {loss}", "survives")?;
    let Some(outage) = &plan.outage else { return Ok(()) };
    let drained = outage.drain_s.map_or("never drained".to_owned(), |s| format!("drained in {}", minutes(s)));
    let dead = match outage.attempts_last_s {
        Some(s) if outage.dead => format!("; attempts may be used up after {}: DEAD LETTERS", minutes(s)),
        Some(s) => format!("; attempts last {} at least", minutes(s)),
        None => String::new(),
    };
    writeln!(
        out,
        "  {:<22} {} executor outage: backlog {}, {drained}{dead}",
        "",
        minutes(outage.lasts_s),
        count(outage.backlog)
    )
}

fn rest(out: &mut String, plan: &Plan) -> std::fmt::Result {
    if let Some(resources) = &plan.resources {
        let cores = resources.cores_per_dispatcher.map_or("cores not measured".to_owned(), |n| format!("{n:.2} core"));
        let memory = resources.bytes_per_dispatcher.map_or_else(
            || format!("{} for the tasks that it holds", mib(resources.held_bytes)),
            |bytes| format!("{} per dispatcher", mib(bytes)),
        );
        let network = resources.bits_per_s / 1e6;
        writeln!(out, "  {:<22} {cores} and {memory}, {network:.1} Mbit/s", "resources")?;
    }
    if let Some((first, others)) = plan.limits.split_first() {
        let next = others.iter().map(|next| format!("{} at {}/s", next.name, count(next.tasks_per_s)));
        let next = next.collect::<Vec<_>>().join(", ");
        let at = count(first.tasks_per_s);
        writeln!(out, "  {:<22} {} at {at}/s (next: {next})", "bottleneck", first.name)?;
    }
    let alternative = |one: &Candidate| {
        let spare = if one.survives_loss { "survives one loss" } else { "no spare" };
        let figure = format!("{} {}", demanded(plan), seconds(one.slo_s));
        format!("{} x {} x {} ({figure}, {spare})", one.dispatchers, one.slots, one.prefetch)
    };
    let alternatives = plan.alternatives.iter().map(alternative).collect::<Vec<_>>();
    if !alternatives.is_empty() {
        writeln!(out, "  {:<22} {}", "alternatives", alternatives.join(" | "))?;
    }
    writeln!(out, "  {:<22} {}", "taken for granted", plan.assumptions.join("; "))
}

fn calibration(plan: &Plan) -> String {
    let Some(measured) = &plan.calibrated else { return "not calibrated".to_owned() };
    let at = quebert_wire::Timestamp::from_millis(measured.started_at_ms);
    let error = |one: &super::ModelError| format!("{} {:+.0} %", one.figure, one.error() * 100.0);
    let errors = measured.errors.iter().map(error).collect::<Vec<_>>().join(", ");
    format!("calibrated by the run of {at}; error of the model on it: {errors}")
}

fn executors(plan: &Plan) -> String {
    let all = if plan.executors.is_empty() { "name=main".to_owned() } else { plan.executors.join(" | ") };
    format!("{all} (an attempt is {} of work)", seconds(plan.demand.work_s))
}

/// What stands between the work and what a task sees of it.
fn machine(plan: &Plan) -> String {
    let us = |us: u64| Span(Duration::from_micros(us)).to_string();
    let timing = &plan.timing;
    let (extra, confirm, rtt) = (us(timing.attempt_extra_us), us(timing.confirm_us), us(timing.broker_rtt_us));
    format!("{extra} to an attempt, {confirm} until a task is stored; {rtt} to the broker and back")
}

/// A wait by a formula; it is 0 where fewer tasks wait at all than the demand is about.
pub(crate) fn waits(s: f64) -> String {
    if s == 0.0 { "no wait".to_owned() } else { seconds(s) }
}

/// Such as `p99 wait`: the demand without its limit.
fn demanded(plan: &Plan) -> &str {
    plan.slo.split(" <").next().unwrap_or(&plan.slo)
}

fn seconds(s: f64) -> String {
    Duration::try_from_secs_f64(s).map_or("no end".to_owned(), |time| Span(time).to_string())
}

/// A length of time for people who plan.
pub(crate) fn minutes(s: f64) -> String {
    match s {
        s if s >= 7200.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s => format!("{s:.0} s"),
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.0} MiB", (bytes / 1_048_576.0).ceil())
}

/// With blanks between thousands, and without digits that nobody needs.
fn count(n: f64) -> String {
    if n >= 1e6 {
        return format!("{:.1} M", n / 1e6);
    }
    if n < 100.0 {
        return format!("{}", (n * 10.0).round() / 10.0);
    }
    let digits = format!("{n:.0}");
    let head = digits.len() % 3;
    let mut out = digits[..head].to_owned();
    for at in (head..digits.len()).step_by(3) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&digits[at..at + 3]);
    }
    out
}

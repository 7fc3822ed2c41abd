//! What all plots over time share: the seconds, made few enough to be drawn, one x axis, the phases of the plan and the
//! faults. What is drawn over it stands beside.

use super::{
    super::{
        Report,
        markup::{Element, el},
    },
    axis::Axis,
    plot::{ACROSS, LEFT, Plot, TOP, fitting, line, rect, text, upwards},
};
use crate::{figures::Second, ledger::FaultView};

/// Columns at most: about three pixels each.
const COLUMNS: usize = 300;

/// Some seconds of a run, taken together.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    /// From the start of the run.
    pub(super) from_s: f64,
    pub(super) until_s: f64,
    /// Sums of what happened. Waits are told by the largest of their percentiles, levels by the highest.
    pub(super) sum: Second,
}

impl Column {
    /// Where a point that stands for it is drawn.
    pub(super) fn middle(&self) -> f64 {
        f64::midpoint(self.from_s, self.until_s)
    }

    /// A sum, a second.
    pub(super) fn rate(&self, of: fn(&Second) -> u32) -> f64 {
        f64::from(of(&self.sum)) / (self.until_s - self.from_s)
    }
}

/// A run over time.
#[derive(Debug)]
pub(super) struct Time<'a> {
    pub(super) report: &'a Report,
    pub(super) columns: Vec<Column>,
    pub(super) end_s: f64,
}

impl<'a> Time<'a> {
    /// The time of a run; `None` if it has none.
    pub(super) fn new(report: &'a Report) -> Option<Self> {
        let size = report.seconds.len().div_ceil(COLUMNS).max(1);
        let columns = report.seconds.chunks(size).enumerate().map(|(n, seconds)| {
            let from = n * size;
            let sum = seconds.iter().fold(Second::default(), add);
            Column { from_s: from as f64, until_s: (from + seconds.len()) as f64, sum }
        });
        let columns = columns.collect::<Vec<_>>();
        let end_s = columns.last()?.until_s;
        Some(Self { report, columns, end_s })
    }

    /// The faults that can be seen, in their order, each with its number from 1.
    pub(super) fn faults(&self) -> impl Iterator<Item = (usize, &'a FaultView)> {
        let faults = self.report.verdict.faults.iter().enumerate().map(|(i, fault)| (i + 1, fault));
        faults.filter(|(_, fault)| (0.0..=self.end_s).contains(&fault.from_s))
    }

    /// A plot with phases, faults, and the x axis.
    pub(super) fn plot(&self, label: &str, height: f64, y: impl FnOnce((f64, f64)) -> Axis) -> Plot {
        let mut plot = Plot::new(label, height, Axis::exact(self.end_s, ACROSS), y(upwards(height)));
        self.phases(&mut plot);
        for (n, fault) in self.faults() {
            mark(&mut plot, n, fault);
        }
        let ticks = plot.x.ticks().into_iter().map(|s| (s, clock(s))).collect::<Vec<_>>();
        plot.x_ticks(&ticks)
    }

    fn phases(&self, plot: &mut Plot) {
        for phase in &self.report.phases {
            let (from, until) = (plot.x.at(phase.from_s), plot.x.at(phase.until_s));
            if phase.from_s > 0.0 && phase.from_s < self.end_s {
                plot.add_behind(line((from, TOP - 14.0), (from, plot.bottom()), "phase"));
            }
            if let Some(name) = fitting(&phase.part.name, until - from - 8.0) {
                plot.add_behind(text((from + 4.0, TOP - 6.0), "start", name).class("name"));
            }
        }
        let end = plot.x.at(self.report.plan_s);
        if self.report.plan_s < self.end_s {
            plot.add_behind(line((end, TOP - 14.0), (end, plot.bottom()), "phase"));
        }
    }

    /// Tells each column's figures where somebody points at it.
    pub(super) fn tell(&self, plot: &mut Plot, told: impl Fn(&Column) -> String) {
        for column in &self.columns {
            plot.tell(column.from_s, column.until_s, format!("{}: {}", clock(column.from_s), told(column)));
        }
    }
}

/// A fault: a band as long as it lasted, at least a line, with its number.
fn mark(plot: &mut Plot, n: usize, fault: &FaultView) {
    let from = plot.x.at(fault.from_s);
    let until = plot.x.at(fault.until_s.max(fault.from_s)).max(from + 1.5);
    plot.add_behind(rect((from, TOP), (until, plot.bottom()), "fault"));
    let at = (from.max(LEFT + 7.0), TOP + 10.0);
    plot.add(el("circle").class("badge").num("cx", at.0).num("cy", at.1).num("r", 7.5));
    plot.add(text((at.0, at.1 + 4.0), "middle", n.to_string()).class("badge-text"));
}

/// Seconds of a run: `15 s`, `2:05` with minutes.
pub(super) fn clock(s: f64) -> String {
    let whole = s.max(0.0) as u64;
    match whole {
        0..=119 if s == s.floor() => format!("{whole} s"),
        0..=119 => format!("{s:.1} s"),
        120..=3599 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02} h", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

fn add(mut sum: Second, second: &Second) -> Second {
    let add = |to: &mut u32, n: u32| *to = to.saturating_add(n);
    add(&mut sum.offered, second.offered);
    add(&mut sum.published, second.published);
    add(&mut sum.confirmed, second.confirmed);
    add(&mut sum.attempts, second.attempts);
    add(&mut sum.succeeded, second.succeeded);
    add(&mut sum.failed, second.failed);
    add(&mut sum.first, second.first);
    if sum.heat.len() < second.heat.len() {
        sum.heat.resize(second.heat.len(), 0);
    }
    for (cell, n) in sum.heat.iter_mut().zip(&second.heat) {
        add(cell, *n);
    }
    sum.wait_p50_us = sum.wait_p50_us.max(second.wait_p50_us);
    sum.wait_p99_us = sum.wait_p99_us.max(second.wait_p99_us);
    sum.wait_max_us = sum.wait_max_us.max(second.wait_max_us);
    sum.ready = sum.ready.max(second.ready);
    sum.held = sum.held.max(second.held);
    sum.in_flight = sum.in_flight.max(second.in_flight);
    sum.slots = sum.slots.max(second.slots);
    sum
}

/// The legend above a plot: what stands for what.
pub(super) fn legend(keys: &[(&'static str, &str)]) -> Element {
    let key = |(class, name): &(&'static str, &str)| el("span").child(el("i").class(class)).text(*name);
    el("p").class("legend").children(keys.iter().map(key))
}

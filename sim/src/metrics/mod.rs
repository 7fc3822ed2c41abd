//! A run's metrics in virtual time, as a Prometheus would have scraped them: OpenMetrics text with timestamps, for
//! `promtool tsdb create-blocks-from openmetrics`. So alerts and dashboards can be tried on a simulated disaster.
//!
//! The numbers come from the production observer, one for each start of each dispatcher, which is told the events of the
//! history again: a run is the same whether somebody wants its metrics or not. What a process would tell of itself (CPU,
//! memory) is not there, nor are markers of staleness: a series that ends is seen for as long as Prometheus looks back.

mod depths;
#[cfg(test)]
mod tests;

use crate::{
    case::{Case, FaultKind},
    clock::EPOCH_MS,
    history::{Entry, What},
    host::Host,
    run::config::core_config,
};
use depths::Depths;
use quebert_dispatcher::{config::LaneConfig, ports::observer::Observer};
use quebert_metrics::{
    Health, Metrics,
    proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType},
};
use quebert_wire::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

/// How often dispatchers are scraped.
pub const EVERY: Duration = Duration::from_secs(15);
/// The label `job`.
pub const JOB: &str = "quebert";
/// The port in the label `instance`, as in `dispatcher-1:9464`.
pub const PORT: u16 = 9464;
/// Destinations with names of their own, as in the program.
const DESTINATIONS_MAX: usize = 100;

/// All that was scraped.
#[derive(Debug, Default)]
pub struct Scrapes {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: String,
    /// By their labels as they are written.
    series: BTreeMap<String, Series>,
}

#[derive(Debug, Default)]
struct Series {
    /// Of a histogram: the upper bounds of its buckets, the infinite one too.
    bounds: Vec<f64>,
    /// When, and the value; of a histogram each bucket's, the sum and the count.
    points: Vec<(Duration, Vec<f64>)>,
}

/// Everything that a run's dispatchers would have shown, scraped each [`EVERY`] of true time from the beginning to the last
/// thing that happened. `up` is 0 while a dispatcher is down or frozen.
pub fn scrape(case: &Case, entries: &[Entry]) -> Scrapes {
    scrape_as(JOB, case, entries)
}

/// The same under another name in the label `job`, so that several runs can be told apart in one Prometheus.
pub fn scrape_as<'a>(job: &str, case: &Case, entries: impl IntoIterator<Item = &'a Entry>) -> Scrapes {
    let mut scrapes = Scrapes::default();
    let mut yard = Yard::new(job, case);
    let mut due = Duration::ZERO;
    for entry in entries {
        while due < entry.at {
            yard.scrape(due, &mut scrapes);
            due += EVERY;
        }
        yard.take(entry);
    }
    yard.scrape(due, &mut scrapes);
    scrapes
}

/// The dispatchers of a run, as whoever scrapes them sees them.
struct Yard<'a> {
    job: String,
    case: &'a Case,
    lanes: Vec<LaneConfig>,
    processes: BTreeMap<Host, Process>,
    frozen: BTreeMap<Host, BTreeSet<usize>>,
    depths: Depths,
}

/// From a start to the next.
struct Process {
    metrics: Option<(Arc<Health>, Metrics)>,
}

impl<'a> Yard<'a> {
    fn new(job: &str, case: &'a Case) -> Self {
        let hosts = (1..=case.world.dispatchers).map(Host::Dispatcher);
        let processes = hosts.map(|host| (host, Process { metrics: None })).collect();
        let lanes = core_config(&case.world).lanes;
        Self { job: job.to_owned(), case, lanes, processes, frozen: BTreeMap::new(), depths: Depths::default() }
    }

    fn take(&mut self, entry: &Entry) {
        self.depths.take(&entry.what);
        if let What::Fault { index, begins } = entry.what {
            self.freeze(index, begins);
        }
        let Some(process) = self.processes.get_mut(&entry.host) else { return };
        match &entry.what {
            What::Started => process.metrics = Some(started(self.case, &self.lanes, entry.at)),
            What::Down | What::Ended(_) => process.metrics = None,
            What::Event(event) => {
                if let Some((health, metrics)) = &process.metrics {
                    health.observe(event);
                    metrics.observe(event);
                }
            }
            _ => {}
        }
    }

    fn freeze(&mut self, index: usize, begins: bool) {
        let Some(FaultKind::Freeze { host }) = self.case.faults.get(index).map(|fault| &fault.kind) else { return };
        let faults = self.frozen.entry(*host).or_default();
        if begins {
            faults.insert(index)
        } else {
            faults.remove(&index)
        };
    }

    fn scrape(&self, at: Duration, scrapes: &mut Scrapes) {
        for (host, process) in &self.processes {
            let frozen = self.frozen.get(host).is_some_and(|faults| !faults.is_empty());
            let answers = process.metrics.as_ref().filter(|_| !frozen);
            let instance = format!("job=\"{}\",instance=\"{host}:{PORT}\"", self.job);
            scrapes.up(at, &instance, answers.is_some());
            let Some((health, metrics)) = answers else { continue };
            // Only who has a session can ask the broker.
            if health.connected() {
                for lane in &self.lanes {
                    let ready = self.depths.queue(&lane.queue);
                    metrics.depth(&lane.name, Some(ready), Some(self.depths.dead(&lane.queue)));
                    metrics.head_age(&lane.name, ready.ready, wall(at));
                }
            }
            for family in metrics.gather() {
                scrapes.take(at, &instance, &family);
            }
        }
    }
}

fn wall(at: Duration) -> Timestamp {
    Timestamp::from_millis(EPOCH_MS).saturating_add(at)
}

fn started(case: &Case, lanes: &[LaneConfig], at: Duration) -> (Arc<Health>, Metrics) {
    let health = Arc::new(Health::new(lanes.iter().map(|lane| lane.name.clone())));
    let metrics = Metrics::new(lanes, DESTINATIONS_MAX, health.clone(), wall(at));
    if case.world.dispatcher.mediator {
        metrics.hooks(&["case"]);
    }
    (health, metrics)
}

impl Scrapes {
    fn up(&mut self, at: Duration, instance: &str, up: bool) {
        let help = || "Whether the scrape was answered.".to_owned();
        let family = self.families.entry("up".to_owned());
        let family = family.or_insert_with(|| Family { kind: "gauge", help: help(), series: BTreeMap::new() });
        let series = family.series.entry(instance.to_owned()).or_default();
        series.points.push((at, vec![f64::from(u8::from(up))]));
    }

    fn take(&mut self, at: Duration, instance: &str, from: &MetricFamily) {
        let kind = match from.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        let name = from.name().strip_suffix("_total").filter(|_| kind == "counter").unwrap_or(from.name());
        if !self.families.contains_key(name) {
            let family = Family { kind, help: from.help().to_owned(), series: BTreeMap::new() };
            self.families.insert(name.to_owned(), family);
        }
        let family = self.families.get_mut(name).expect("it was put there");
        for metric in from.get_metric() {
            let (bounds, values) = values(kind, metric);
            let series = family.series.entry(labels(instance, metric.get_label())).or_default();
            series.bounds = bounds;
            series.points.push((at, values));
        }
    }

    /// As OpenMetrics 1.0, to its end. Histograms that never counted anything are left out.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, family) in &self.families {
            writeln!(out, "# HELP {name} {}", escaped(&family.help))?;
            writeln!(out, "# TYPE {name} {}", family.kind)?;
            for (labels, series) in &family.series {
                series.write(out, name, family.kind, labels)?;
            }
        }
        writeln!(out, "# EOF")
    }
}

impl Series {
    fn write(&self, out: &mut dyn Write, name: &str, kind: &str, labels: &str) -> io::Result<()> {
        let never = |(_, values): &(Duration, Vec<f64>)| values.last().is_none_or(|count| *count == 0.0);
        if kind == "histogram" && self.points.iter().all(never) {
            return Ok(());
        }
        let suffix = if kind == "counter" { "_total" } else { "" };
        for (at, values) in &self.points {
            let at = Seconds(*at);
            let [buckets @ .., sum, count] = values.as_slice() else {
                writeln!(out, "{name}{suffix}{{{labels}}} {} {at}", values[0])?;
                continue;
            };
            for (bound, value) in self.bounds.iter().zip(buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {value} {at}", Bound(*bound))?;
            }
            writeln!(out, "{name}_sum{{{labels}}} {sum} {at}")?;
            writeln!(out, "{name}_count{{{labels}}} {count} {at}")?;
        }
        Ok(())
    }
}

fn values(kind: &str, metric: &Metric) -> (Vec<f64>, Vec<f64>) {
    match kind {
        "counter" => (Vec::new(), vec![metric.get_counter().get_value()]),
        "gauge" => (Vec::new(), vec![metric.get_gauge().get_value()]),
        _ => {
            let histogram = metric.get_histogram();
            let count = float(histogram.get_sample_count());
            let buckets = histogram.get_bucket();
            let mut bounds: Vec<_> = buckets.iter().map(Bucket::upper_bound).collect();
            let mut values: Vec<_> = buckets.iter().map(|bucket| float(bucket.cumulative_count())).collect();
            bounds.push(f64::INFINITY);
            values.extend([count, histogram.get_sample_sum(), count]);
            (bounds, values)
        }
    }
}

/// Counts of a simulation are small.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn labels(instance: &str, pairs: &[LabelPair]) -> String {
    let mut text = instance.to_owned();
    for pair in pairs {
        text.push_str(&format!(",{}=\"{}\"", pair.name(), escaped(pair.value()).replace('"', "\\\"")));
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// Seconds since the Unix epoch, by true time.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = wall(self.0).as_millis();
        write!(f, "{}.{:03}", millis / 1000, millis % 1000)
    }
}

/// Whole numbers have a point, as OpenMetrics wants it.
struct Bound(f64);

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_infinite() { f.write_str("+Inf") } else { write!(f, "{:?}", self.0) }
    }
}

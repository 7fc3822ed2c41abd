//! Text for scrapers: the classic format of Prometheus, and OpenMetrics 1.0 with exemplars. It writes what it is given and
//! measures nothing.
//!
//! No `_created` samples are written: they double the series of a scraper that takes them for metrics of their own.

use crate::histogram::{Exemplar, Histograms};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use std::{collections::BTreeMap, fmt::Write as _};

/// How a scraper wants its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// What every scraper reads.
    #[default]
    Classic,
    /// OpenMetrics 1.0: with exemplars.
    OpenMetrics,
}

impl Format {
    /// Prometheus 3 insists on these.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// An exemplar's labels take at most so many characters (OpenMetrics 1.0, "Exemplars").
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Bytes of a series in the common case.
const SERIES_BYTES: usize = 110;

pub(crate) fn write(
    families: &[MetricFamily],
    histograms: &BTreeMap<&'static str, Histograms>,
    format: Format,
) -> String {
    let series: usize = families.iter().flat_map(MetricFamily::get_metric).map(series_of).sum();
    let mut writer = Writer { out: String::with_capacity(series * SERIES_BYTES), format };
    for family in families {
        writer.family(family, histograms.get(family.name()));
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

fn series_of(metric: &Metric) -> usize {
    1 + metric.get_histogram().get_bucket().len()
}

struct Writer {
    out: String,
    format: Format,
}

impl Writer {
    fn family(&mut self, family: &MetricFamily, histograms: Option<&Histograms>) {
        let open = self.format == Format::OpenMetrics;
        // In OpenMetrics a counter's family has no suffix, and its samples have.
        let name = match family.name().strip_suffix("_total") {
            Some(stem) if open => stem,
            _ => family.name(),
        };
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        self.put(&["# HELP ", name, " "]);
        escape(&mut self.out, family.help(), open);
        self.put(&["\n# TYPE ", name, " ", kind, "\n"]);
        if let Some(unit) = ["seconds", "bytes"].iter().find(|unit| open && name.ends_with(**unit)) {
            self.put(&["# UNIT ", name, " ", unit, "\n"]);
        }
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => self.sample(family.name(), metric, metric.get_counter().get_value()),
                MetricType::HISTOGRAM => {
                    let exemplars = histograms.filter(|_| open).map(|h| h.exemplars(metric.get_label()));
                    self.histogram(name, metric, &exemplars.unwrap_or_default());
                }
                _ => self.sample(family.name(), metric, metric.get_gauge().get_value()),
            }
        }
    }

    fn sample(&mut self, name: &str, metric: &Metric, value: f64) {
        self.out.push_str(name);
        self.labels(metric.get_label(), None);
        self.out.push(' ');
        self.number(value);
        self.out.push('\n');
    }

    fn histogram(&mut self, name: &str, metric: &Metric, exemplars: &[Option<Exemplar>]) {
        let histogram = metric.get_histogram();
        let bounds = histogram.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count()));
        for (at, (bound, n)) in bounds.chain([(f64::INFINITY, histogram.get_sample_count())]).enumerate() {
            self.put(&[name, "_bucket"]);
            self.labels(metric.get_label(), Some(bound));
            let _ = write!(self.out, " {n}");
            if let Some(Some(exemplar)) = exemplars.get(at) {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.put(&[name, "_sum"]);
        self.labels(metric.get_label(), None);
        self.out.push(' ');
        self.number(histogram.get_sample_sum());
        self.put(&["\n", name, "_count"]);
        self.labels(metric.get_label(), None);
        let _ = writeln!(self.out, " {}", histogram.get_sample_count());
    }

    fn labels(&mut self, labels: &[LabelPair], le: Option<f64>) {
        let mut before = '{';
        for label in labels {
            self.out.push(before);
            self.put(&[label.name(), "=\""]);
            escape(&mut self.out, label.value(), true);
            self.out.push('"');
            before = ',';
        }
        if let Some(le) = le {
            self.out.push(before);
            self.out.push_str("le=\"");
            self.bound(le);
            self.out.push('"');
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let trace = exemplar.trace.map(|trace| trace.to_string());
        let taken = trace.as_ref().map_or(0, |trace| "trace_id".len() + trace.len());
        let task = Some(exemplar.task.as_str());
        let task = task.filter(|task| taken + "task_id".len() + task.chars().count() <= EXEMPLAR_CHARS_MAX);
        self.out.push_str(" # {");
        if let Some(trace) = &trace {
            self.put(&["trace_id=\"", trace, "\""]);
        }
        if let Some(task) = task {
            self.put(&[if trace.is_some() { "," } else { "" }, "task_id=\""]);
            escape(&mut self.out, task, true);
            self.out.push('"');
        }
        self.out.push_str("} ");
        self.number(exemplar.value);
    }

    /// OpenMetrics wants a bound to look like a float: 5.0.
    fn bound(&mut self, bound: f64) {
        self.number(bound);
        if self.format == Format::OpenMetrics && bound.is_finite() && bound.fract() == 0.0 {
            self.out.push_str(".0");
        }
    }

    fn number(&mut self, value: f64) {
        let _ = match value {
            f64::INFINITY => self.out.write_str("+Inf"),
            f64::NEG_INFINITY => self.out.write_str("-Inf"),
            _ => write!(self.out, "{value}"),
        };
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.push_str(part);
        }
    }
}

/// A label's value, or a help text: the classic format leaves quotes in the latter.
fn escape(out: &mut String, text: &str, quotes: bool) {
    if !text.contains(['\\', '\n', '"']) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

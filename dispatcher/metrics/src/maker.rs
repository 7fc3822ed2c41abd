//! Makes metrics by their name in the list, so that nothing is exported that the list does not have.

use crate::{
    histogram::Histograms,
    list::{Kind, Slo, Spec},
    registry::lock,
};
use prometheus::{
    CounterVec, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Describer},
};
use std::{collections::BTreeMap, sync::Mutex};

pub(crate) struct Maker<'a> {
    pub(crate) registry: &'a Registry,
    /// The user's thresholds in seconds, which become buckets.
    pub(crate) slos: &'a [f64],
    /// All histograms made, for their exemplars.
    pub(crate) histograms: &'a Mutex<BTreeMap<&'static str, Histograms>>,
}

impl Maker<'_> {
    fn spec(name: &str) -> &'static Spec {
        Spec::find(name).expect("every metric stands in the list: a test makes them all")
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels of the list are valid: a test makes them all");
        self.registry.register(Box::new(collector.clone())).expect("each metric is made once");
        collector
    }

    fn opts(name: &str) -> (Opts, Vec<&'static str>) {
        let spec = Self::spec(name);
        (Opts::new(spec.name, spec.help), labels(spec))
    }

    pub(crate) fn counters(&self, name: &str) -> IntCounterVec {
        let (opts, labels) = Self::opts(name);
        self.register(IntCounterVec::new(opts, &labels))
    }

    pub(crate) fn float_counters(&self, name: &str) -> CounterVec {
        let (opts, labels) = Self::opts(name);
        self.register(CounterVec::new(opts, &labels))
    }

    pub(crate) fn gauges(&self, name: &str) -> IntGaugeVec {
        let (opts, labels) = Self::opts(name);
        self.register(IntGaugeVec::new(opts, &labels))
    }

    pub(crate) fn gauge(&self, name: &str) -> IntGauge {
        self.gauges(name).with_label_values::<&str>(&[])
    }

    pub(crate) fn float_gauges(&self, name: &str) -> GaugeVec {
        let (opts, labels) = Self::opts(name);
        self.register(GaugeVec::new(opts, &labels))
    }

    pub(crate) fn float_gauge(&self, name: &str) -> Gauge {
        self.float_gauges(name).with_label_values::<&str>(&[])
    }

    pub(crate) fn histograms(&self, name: &str) -> Histograms {
        let spec = Self::spec(name);
        let Kind::Histogram(buckets, slo) = spec.kind else { panic!("{name} is a histogram in the list") };
        let mut buckets = buckets.to_vec();
        if slo == Slo::Merged {
            buckets.extend(self.slos);
            buckets.sort_by(f64::total_cmp);
            buckets.dedup();
        }
        let names = labels(spec).into_iter().map(str::to_owned).collect();
        let desc = Opts::new(spec.name, spec.help).variable_labels(names).describe();
        let made = desc.map(|desc| Histograms::new(desc, labels(spec), buckets, spec.unit == "seconds"));
        let made = self.register(made);
        lock(self.histograms).insert(spec.name, made.clone());
        made
    }
}

fn labels(spec: &Spec) -> Vec<&'static str> {
    spec.labels.iter().map(|label| label.name).collect()
}

//! The series of destinations: the first so many have their own, the rest shares those of `_other`.

use crate::{
    histogram::{Histogram, Histograms},
    list::OTHER,
    maker::Maker,
    registry::lock,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use quebert_dispatcher::{event::Event, outcome::Outcome};
use quebert_wire::Destination;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

pub(crate) struct Destinations {
    known: Mutex<Known>,
    other: OnceLock<Arc<Series>>,
    max: usize,
    /// Names of the lanes, in the order of their numbers.
    lanes: Vec<Arc<str>>,
    attempts: IntCounterVec,
    duration: Histograms,
    in_flight: IntGaugeVec,
    limit: IntGaugeVec,
    circuit_open: IntGaugeVec,
    overflow: IntCounter,
}

#[derive(Default)]
struct Known {
    all: BTreeMap<Destination, Arc<Series>>,
    /// Asked for last. Events of one destination often come in pairs.
    last: Option<(Destination, Arc<Series>)>,
}

/// Of one destination.
struct Series {
    name: String,
    /// By lane, from the first request on; by class of outcome.
    attempts: Vec<OnceLock<[IntCounter; Outcome::CLASSES.len()]>>,
    ok: Arc<Histogram>,
    error: Arc<Histogram>,
    /// Those beyond the cap have none.
    gauges: Option<Gauges>,
}

struct Gauges {
    in_flight: IntGauge,
    limit: IntGauge,
    circuit_open: IntGauge,
}

impl Destinations {
    pub(crate) fn new(max: usize, lanes: Vec<Arc<str>>, r: &Maker<'_>) -> Self {
        Self {
            known: Mutex::default(),
            other: OnceLock::new(),
            max,
            lanes,
            attempts: r.counters("quebert_dispatch_attempts_total"),
            duration: r.histograms("quebert_dispatch_duration_seconds"),
            in_flight: r.gauges("quebert_destination_in_flight"),
            limit: r.gauges("quebert_destination_concurrency_limit"),
            circuit_open: r.gauges("quebert_destination_circuit_open"),
            overflow: r.counters("quebert_metrics_label_overflow_total").with_label_values(&["destination"]),
        }
    }

    /// What an event does to the series of its destination; `lane` is the number of its lane, if it has one of ours.
    pub(crate) fn observe(&self, lane: Option<usize>, event: &Event) {
        match event {
            Event::DestinationInFlight { destination, in_flight, limit } => {
                if let Some(gauges) = &self.series(destination).gauges {
                    gauges.in_flight.set(i64::from(*in_flight));
                    gauges.limit.set(i64::from(*limit));
                }
            }
            Event::DestinationTrusted { destination, trusted } => {
                if let Some(gauges) = &self.series(destination).gauges {
                    gauges.circuit_open.set(i64::from(!trusted));
                }
            }
            Event::AttemptStarted { destination, .. } => {
                let series = self.series(destination);
                if let Some(lane) = lane {
                    self.attempts(&series, lane);
                }
                if series.gauges.is_none() {
                    self.overflow.inc();
                }
            }
            Event::AttemptEnded { destination, class, duration, task, trace, .. } => {
                let series = self.series(destination);
                let class_at = Outcome::CLASSES.iter().position(|known| known == class);
                if let (Some(lane), Some(at)) = (lane, class_at) {
                    self.attempts(&series, lane)[at].inc();
                }
                let histogram = if *class == "2xx" { &series.ok } else { &series.error };
                histogram.time_of(*duration, task, *trace);
            }
            _ => {}
        }
    }

    /// Those of one lane and destination: all of them at 0 when the first request starts.
    fn attempts<'a>(&self, series: &'a Series, lane: usize) -> &'a [IntCounter; Outcome::CLASSES.len()] {
        series.attempts[lane].get_or_init(|| {
            Outcome::CLASSES.map(|class| self.attempts.with_label_values(&[&self.lanes[lane], &*series.name, class]))
        })
    }

    fn series(&self, destination: &Destination) -> Arc<Series> {
        let mut known = lock(&self.known);
        if let Some((_, series)) = known.last.as_ref().filter(|(last, _)| last == destination) {
            return series.clone();
        }
        if let Some(series) = known.all.get(destination).cloned() {
            known.last = Some((destination.clone(), series.clone()));
            return series;
        }
        if known.all.len() >= self.max {
            return self.other.get_or_init(|| Arc::new(self.make(OTHER, None))).clone();
        }
        let name = destination.as_str();
        let gauges = Gauges {
            in_flight: self.in_flight.with_label_values(&[name]),
            limit: self.limit.with_label_values(&[name]),
            circuit_open: self.circuit_open.with_label_values(&[name]),
        };
        let series = Arc::new(self.make(name, Some(gauges)));
        known.all.insert(destination.clone(), series.clone());
        series
    }

    fn make(&self, name: &str, gauges: Option<Gauges>) -> Series {
        Series {
            name: name.to_owned(),
            attempts: self.lanes.iter().map(|_| OnceLock::new()).collect(),
            ok: self.duration.of(&[name, "ok"]),
            error: self.duration.of(&[name, "error"]),
            gauges,
        }
    }
}

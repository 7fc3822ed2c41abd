//! What dashboards and rules are made for: whose metrics, which queues, which promises to keep, and when to wake somebody.
//! Nothing is read here; whoever has a config or flags fills this in.

use quebert_metrics::list::{Kind, METRICS};

/// What dashboards and rules are made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Regular expression of the scrape jobs whose targets are dispatchers.
    pub job: String,
    /// The queues; none is all of them, those of tomorrow included.
    pub queues: Vec<String>,
    /// What the broker's names of work queues begin with, before a dot and the queue's own name.
    pub queue_prefix: String,
    /// What is promised.
    pub objectives: Objectives,
    /// When to tell somebody.
    pub thresholds: Thresholds,
    /// Where the runbooks are; the alert's name and `.md` are added.
    pub runbooks: String,
    /// Where Grafana is, for links from alerts; empty makes paths without a host.
    pub grafana: String,
}

/// Service level objectives, for each queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objectives {
    /// Percentage of tasks that end as they should, and not as a dead letter or expired.
    pub delivery_percent: f64,
    /// Percentage of tasks that wait no longer than `wait_seconds` for their first attempt.
    pub wait_percent: f64,
    /// One of the bounds of [`wait_bounds`], or one of the config's own (`metrics.slo`).
    pub wait_seconds: f64,
}

/// When to tell somebody. Times of "for how long" stand with the alerts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Fewest tasks in the long window of a burn rate: below, one failure is too large a share to mean anything.
    pub burn_tasks_min: f64,
    /// Seconds that a backlog takes to be worked off.
    pub drain_seconds: f64,
    /// Used share of a queue's slots, up to 1.
    pub utilization: f64,
    /// Share of failed attempts at a destination, up to 1.
    pub destination_errors: f64,
    /// Retries for each attempt, up to 1.
    pub retries: f64,
    /// Deliveries that nobody can account for.
    pub unaccounted: f64,
    /// Seconds that one attempt in a hundred starts late.
    pub schedule_lag_seconds: f64,
    /// Seconds that one timer in a hundred fires late.
    pub timer_lag_seconds: f64,
    /// Used share of the file descriptors, up to 1.
    pub files: f64,
    /// Starts of one dispatcher within 15 minutes.
    pub restarts: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            job: "quebert.*".to_owned(),
            queues: Vec::new(),
            queue_prefix: "quebert".to_owned(),
            objectives: Objectives::default(),
            thresholds: Thresholds::default(),
            runbooks: concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/dashboards/runbooks/").to_owned(),
            grafana: String::new(),
        }
    }
}

impl Default for Objectives {
    fn default() -> Self {
        Self { delivery_percent: 99.9, wait_percent: 99.0, wait_seconds: 5.0 }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            burn_tasks_min: 100.0,
            drain_seconds: 900.0,
            utilization: 0.95,
            destination_errors: 0.5,
            retries: 0.5,
            unaccounted: 5.0,
            schedule_lag_seconds: 5.0,
            timer_lag_seconds: 0.1,
            files: 0.8,
            restarts: 2.0,
        }
    }
}

impl Objectives {
    /// Reads what follows `--slo`: `delivery=99.9,wait=5s:99`. What it leaves out stays. `own` are the seconds of
    /// `metrics.slo`, which the dispatcher makes bounds of buckets, too.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn read(mut self, text: &str, own: &[f64]) -> Result<Self, String> {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("delivery", percent)) => self.delivery_percent = self::percent(percent)?,
                Some(("wait", promise)) => {
                    let (time, percent) =
                        promise.split_once(':').ok_or_else(|| format!("`{part}`: it is wait=TIME:PERCENT"))?;
                    self.wait_seconds = bound(time, own)?;
                    self.wait_percent = self::percent(percent)?;
                }
                _ => return Err(format!("`{part}` is no objective; they are like delivery=99.9,wait=5s:99")),
            }
        }
        Ok(self)
    }

    /// The share of tasks that may fail.
    pub fn delivery_budget(&self) -> f64 {
        1.0 - self.delivery_percent / 100.0
    }

    /// The share of tasks that may wait longer.
    pub fn wait_budget(&self) -> f64 {
        1.0 - self.wait_percent / 100.0
    }
}

/// The waits that can be promised: the bounds of the histogram's buckets. Between two of them nothing is known.
pub fn wait_bounds() -> &'static [f64] {
    let spec = METRICS.iter().find(|spec| spec.name == "quebert_task_wait_seconds");
    match spec.map(|spec| spec.kind) {
        Some(Kind::Histogram(bounds, _)) => bounds,
        _ => unreachable!("the wait is a histogram in the list of metrics"),
    }
}

/// A number as PromQL and people write it: no binary dust, no trailing zeros.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.9}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim_end_matches('%').parse().map_err(|_| format!("`{text}` is no percentage"))?;
    // At 100 there is no budget that could be burnt.
    if value > 0.0 && value < 100.0 { Ok(value) } else { Err(format!("`{text}`: it lies between 0 and 100")) }
}

fn bound(text: &str, own: &[f64]) -> Result<f64, String> {
    let (digits, factor) = match text {
        t if t.ends_with("ms") => (&t[..t.len() - 2], 0.001),
        t if t.ends_with('s') => (&t[..t.len() - 1], 1.0),
        t if t.ends_with('m') => (&t[..t.len() - 1], 60.0),
        t if t.ends_with('h') => (&t[..t.len() - 1], 3600.0),
        t => (t, 1.0),
    };
    let seconds = digits.parse::<f64>().map_err(|_| format!("`{text}` is no time such as 5s"))? * factor;
    let same = |known: &&f64| (**known - seconds).abs() < 1e-9;
    wait_bounds().iter().chain(own).find(same).copied().ok_or_else(|| {
        let known = wait_bounds().iter().chain(own).map(|b| format!("{}s", number(*b))).collect::<Vec<_>>().join(", ");
        format!(
            "`{text}` is no bound of the wait's histogram, so nothing could be known of it; take one of {known}, or add it \
             to the config's metrics.slo"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_what_is_left_out_stays() {
        let read = |text| Objectives::default().read(text, &[7.0]);
        let own = Objectives { delivery_percent: 99.5, wait_percent: 95.0, wait_seconds: 60.0 };
        assert_eq!(read("delivery=99.5,wait=1m:95"), Ok(own));
        assert_eq!(read("wait=500ms:99").map(|o| (o.delivery_percent, o.wait_seconds)), Ok((99.9, 0.5)));
        assert_eq!(read("wait=7s:99").map(|o| o.wait_seconds), Ok(7.0), "the config has a bound of its own");
        assert_eq!(read(""), Ok(Objectives::default()));
    }

    #[test]
    fn what_cannot_be_promised_is_refused_with_what_can() {
        let wrong = |text| Objectives::default().read(text, &[]).expect_err("it is wrong");
        assert!(wrong("wait=7s:99").contains("2.5s, 5s, 10s"), "{}", wrong("wait=7s:99"));
        for text in ["delivery=100", "delivery=0", "delivery=x", "wait=5s", "wait=5q:99", "speed=9"] {
            assert!(!wrong(text).is_empty());
        }
    }

    #[test]
    fn numbers_have_no_binary_dust() {
        assert_eq!(number(1.0 - 99.9 / 100.0), "0.001");
        assert_eq!(number(14.4 * (1.0 - 99.9 / 100.0)), "0.0144");
        assert_eq!((number(900.0), number(0.0), number(86_400.0)), ("900".into(), "0".into(), "86400".into()));
    }
}

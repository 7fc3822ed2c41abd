//! From an envelope to the parts of a task: every rule about the values stands here and in `request`. Nothing is looked
//! up: whether a host exists or an address is allowed shows at the attempt.

mod request;
mod violation;

pub(crate) use violation::{Naming, Report, shown};
pub use violation::{Violation, ViolationKind};

use crate::{
    Destination, Envelope, EnvelopeRetry, Limits, RetryOverrides, TaskId, Timestamp,
    limits::{
        DELAY_MAX, FLOW_KEY_BYTES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, QUEUE_BYTES_MAX,
        SCHEDULE_LEN_MAX, TIMEOUT_MAX,
    },
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use violation::ViolationKind::{Malformed, NotAllowed, Unknown};

/// A moment that was given as one, or as a distance from when the task was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    After(Duration),
}

/// An envelope's values, checked.
pub(crate) struct Checked {
    pub(crate) id: Option<TaskId>,
    pub(crate) url: http::Uri,
    pub(crate) destination: Destination,
    pub(crate) method: http::Method,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) not_before: Option<When>,
    pub(crate) expires: Option<When>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: RetryOverrides,
    pub(crate) queue: Option<String>,
    pub(crate) flow_key: Option<String>,
    pub(crate) callback: Option<http::Uri>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Envelope {
    /// Checks everything, strictly, and lists all that is wrong: what a dispatcher would bury, and what it would
    /// silently leave out (unknown fields, reserved headers) as well.
    ///
    /// ```
    /// use quebert_wire::{Envelope, Limits};
    /// let envelope: Envelope = serde_json::from_str(r#"{"url": "ftp://host/", "prio": 1}"#)?;
    /// let wrong: Vec<_> = envelope.check(&Limits::default()).unwrap_err().iter().map(ToString::to_string).collect();
    /// assert_eq!(wrong, [r#"field "url": the scheme must be http or https"#, r#"field "prio": is not known"#]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Violation>> {
        let mut report = Report::new(limits, true, Naming::Fields);
        let checked = checked(self.clone(), &mut report);
        debug_assert!(checked.is_some() || !report.is_empty(), "what can't be built was reported");
        for name in &self.unknown_fields {
            report.add(Unknown, name, "is not known");
        }
        report.into_result()
    }
}

/// Checks an envelope. `None`, or something in the report, says that it can't be a task.
pub(crate) fn checked(e: Envelope, report: &mut Report<'_>) -> Option<Checked> {
    let target = request::target("url", e.url, report);
    let id = e.id.and_then(|text| match TaskId::new(&text) {
        Ok(id) => Some(id),
        Err(error) => {
            report.add(Malformed, "id", &error.to_string());
            None
        }
    });
    let method = request::method(e.method.as_deref(), report);
    let mut headers = request::headers(&e.headers, report);
    let body = request::body(e.body, e.body_text, e.body_base64, &mut headers, report);
    let not_before = when(("not_before", e.not_before), ("delay_ms", e.delay_ms), report);
    let expires = when(("expires_at", e.expires_at), ("ttl_ms", e.ttl_ms), report);
    moment("created_at", e.created_at, report);
    if e.ttl_ms == Some(0) {
        report.add(Malformed, "ttl_ms", "0, at least 1 is needed");
    }
    let in_order = match (not_before, expires) {
        (Some(When::At(from)), Some(When::At(to))) => from < to,
        (Some(When::After(from)), Some(When::After(to))) => from < to,
        _ => true,
    };
    if !in_order {
        let (to, from) = if e.ttl_ms.is_some() { ("ttl_ms", "delay_ms") } else { ("expires_at", "not_before") };
        report.add(Malformed, to, &format!("must be later than \"{from}\""));
    }
    let timeout = duration("timeout_ms", e.timeout_ms, 1, TIMEOUT_MAX, report);
    let retry = e.retry.map(|r| retry(r, report)).unwrap_or_default();
    text("queue", e.queue.as_deref(), QUEUE_BYTES_MAX, report);
    text("flow_key", e.flow_key.as_deref(), FLOW_KEY_BYTES_MAX, report);
    let callback = e.callback.and_then(|url| request::target("callback", url, report)).map(|(url, _)| url);
    labels(&e.labels, report);
    let (url, destination) = target?;
    Some(Checked {
        id,
        url,
        destination,
        method,
        headers,
        body,
        created_at: e.created_at,
        not_before,
        expires,
        timeout,
        retry,
        queue: e.queue,
        flow_key: e.flow_key,
        callback,
        labels: e.labels,
    })
}

fn when(at: (&str, Option<Timestamp>), after: (&str, Option<u64>), report: &mut Report<'_>) -> Option<When> {
    moment(at.0, at.1, report);
    let distance = duration(after.0, after.1, 0, DELAY_MAX, report);
    if at.1.is_some() && after.1.is_some() {
        report.add(Malformed, at.0, &format!("only one of \"{}\" and \"{}\" is allowed", at.0, after.0));
    }
    at.1.map(When::At).or(distance.map(When::After))
}

fn moment(field: &str, at: Option<Timestamp>, report: &mut Report<'_>) {
    if at.is_some_and(|t| t < Timestamp::from_millis(0) || t > Timestamp::MAX_RFC3339) {
        report.add(Malformed, field, "must lie between 1970 and 9999");
    }
}

fn duration(field: &str, ms: Option<u64>, min: u64, max: Duration, report: &mut Report<'_>) -> Option<Duration> {
    let ms = ms?;
    let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    if ms < min {
        report.add(Malformed, field, &format!("{ms}, at least {min} is needed"));
    }
    if ms > max {
        report.add(NotAllowed, field, &format!("{ms}, at most {max} is allowed"));
    }
    Some(Duration::from_millis(ms.min(max)))
}

fn retry(r: EnvelopeRetry, report: &mut Report<'_>) -> RetryOverrides {
    if r.max_attempts == Some(0) {
        report.add(Malformed, "retry.max_attempts", "0, at least 1 is needed");
    }
    let mut delay = |field, ms| duration(field, ms, 0, DELAY_MAX, report);
    let max_age = delay("retry.max_age_ms", r.max_age_ms);
    let backoff_min = delay("retry.backoff_min_ms", r.backoff_min_ms);
    let backoff_max = delay("retry.backoff_max_ms", r.backoff_max_ms);
    if let (Some(min), Some(max)) = (backoff_min, backoff_max)
        && min > max
    {
        report.add(Malformed, "retry.backoff_max_ms", "must not be less than \"retry.backoff_min_ms\"");
    }
    let schedule = r.schedule_ms.map(|list| {
        if list.is_empty() {
            report.add(Malformed, "retry.schedule_ms", "no entries, at least 1 is needed");
        }
        if list.len() > SCHEDULE_LEN_MAX {
            let message = format!("{} entries, at most {SCHEDULE_LEN_MAX} are allowed", list.len());
            report.add(NotAllowed, "retry.schedule_ms", &message);
        }
        list.into_iter().filter_map(|ms| duration("retry.schedule_ms", Some(ms), 0, DELAY_MAX, report)).collect()
    });
    RetryOverrides { max_attempts: r.max_attempts, max_age, backoff_min, backoff_max, schedule }
}

fn text(field: &str, text: Option<&str>, max: usize, report: &mut Report<'_>) {
    let Some(text) = text else { return };
    if text.is_empty() {
        report.add(Malformed, field, "is empty");
    }
    if text.len() > max {
        report.add(NotAllowed, field, &format!("{} bytes, at most {max} are allowed", text.len()));
    }
    if text.chars().any(char::is_control) {
        report.add(Malformed, field, "has a control character");
    }
}

fn labels(labels: &BTreeMap<String, String>, report: &mut Report<'_>) {
    if labels.len() > LABELS_MAX {
        let message = format!("{} entries, at most {LABELS_MAX} are allowed", labels.len());
        report.add(NotAllowed, "labels", &message);
    }
    for (name, value) in labels {
        text("labels", Some(name), LABEL_NAME_BYTES_MAX, report);
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let message = format!("{} bytes, at most {LABEL_VALUE_BYTES_MAX} are allowed", value.len());
            report.add(NotAllowed, &format!("labels.{}", shown(name)), &message);
        }
    }
}

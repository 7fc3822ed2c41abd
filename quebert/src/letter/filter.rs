//! Which dead letters are meant. Doesn't know where they lie; that is the caller's choice by [`Filter::lane`].

use super::Letter;
use crate::api::types::DeadFilter;
use quebert_wire::Timestamp;
use std::time::Duration;

/// Why tasks are given up: the dispatcher's words and, at the end, RabbitMQ's own (`expired` is one of ours, too).
pub const KNOWN_REASONS: [&str; 11] = [
    "max_attempts",
    "permanent",
    "expired",
    "undecodable",
    "not_allowed",
    "max_deliveries",
    "unroutable",
    "hook",
    "delivery_limit",
    "rejected",
    "maxlen",
];

/// A text to filter by may have at most that many bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Those that fit all that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of this lane; without, of all lanes and the common ones. [`Drawer::all`](super::Drawer::all) obeys it.
    pub lane: Option<String>,
    /// Given up for this reason.
    pub reason: Option<String>,
    /// With a URL that begins so.
    pub url_prefix: Option<String>,
    /// Whose id, URL, reason or detail contains this, in whatever ASCII case.
    pub search: Option<String>,
    /// Of one of the tasks with these ids, if there are any.
    pub ids: Vec<String>,
    /// Given up that long ago or longer.
    pub older_than: Option<Duration>,
    /// Given up more recently than that.
    pub newer_than: Option<Duration>,
}

/// What is wrong with a field of a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// No task is ever given up for that.
    #[error("known reasons are {}", KNOWN_REASONS.join(", "))]
    Reason,
    /// A text that is longer than anything it could fit.
    #[error("at most {TEXT_BYTES_MAX} bytes")]
    TooLong(&'static str),
    /// More milliseconds than there are moments.
    #[error("at most {}", i64::MAX)]
    TooLarge(&'static str),
}

impl FilterError {
    /// The field of [`DeadFilter`] that it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::TooLong(field) | Self::TooLarge(field) => field,
        }
    }
}

impl Filter {
    /// Whether a letter fits. The lane is the drawer's matter, not the letter's.
    pub fn fits(&self, letter: &Letter, now: Timestamp) -> bool {
        let age = letter.at.map(|at| now.since(at));
        self.reason.as_ref().is_none_or(|r| letter.reason.as_ref() == Some(r))
            && self.url_prefix.as_ref().is_none_or(|p| letter.url.as_ref().is_some_and(|url| url.starts_with(p)))
            && (self.ids.is_empty() || letter.id.as_ref().is_some_and(|id| self.ids.contains(id)))
            && self.older_than.is_none_or(|span| age.is_some_and(|age| age >= span))
            && self.newer_than.is_none_or(|span| age.is_some_and(|age| age < span))
            && self.search.as_ref().is_none_or(|what| {
                let texts = [&letter.id, &letter.url, &letter.reason, &letter.detail];
                letter.key.contains(what.as_str()) || texts.into_iter().flatten().any(|text| contains(text, what))
            })
    }
}

impl TryFrom<DeadFilter> for Filter {
    type Error = FilterError;

    fn try_from(said: DeadFilter) -> Result<Self, FilterError> {
        if said.reason.as_ref().is_some_and(|reason| !KNOWN_REASONS.contains(&reason.as_str())) {
            return Err(FilterError::Reason);
        }
        for (field, text) in
            [("queue", &said.queue), ("url_prefix", &said.url_prefix), ("search", &said.search), ("id", &said.id)]
        {
            if text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
                return Err(FilterError::TooLong(field));
            }
        }
        for (field, ms) in [("older_than_ms", said.older_than_ms), ("newer_than_ms", said.newer_than_ms)] {
            if ms.is_some_and(|ms| i64::try_from(ms).is_err()) {
                return Err(FilterError::TooLarge(field));
            }
        }
        Ok(Self {
            lane: said.queue,
            reason: said.reason,
            url_prefix: said.url_prefix,
            search: said.search,
            ids: said.id.into_iter().collect(),
            older_than: said.older_than_ms.map(Duration::from_millis),
            newer_than: said.newer_than_ms.map(Duration::from_millis),
        })
    }
}

fn contains(text: &str, what: &str) -> bool {
    let (text, what) = (text.as_bytes(), what.as_bytes());
    what.is_empty() || text.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::{buried, drawer};
    use quebert_dispatcher::verdict::BuryReason;

    #[test]
    fn filters_narrow_down() {
        let letter = Letter::read(&buried(), &drawer());
        let now = Timestamp::from_millis(1_060_000);
        let fits = |filter: Filter| filter.fits(&letter, now);
        let span = |s| Some(Duration::from_secs(s));
        let text = |text: &str| Some(text.to_owned());
        assert!(fits(Filter::default()));
        assert!(fits(Filter { url_prefix: text("http://host/"), ..Filter::default() }));
        assert!(!fits(Filter { url_prefix: text("http://other/"), ..Filter::default() }));
        assert!(fits(Filter { reason: text("max_attempts"), ..Filter::default() }));
        assert!(!fits(Filter { reason: text("permanent"), ..Filter::default() }));
        assert!(fits(Filter { ids: vec!["x".into(), "t-1".into()], ..Filter::default() }));
        assert!(!fits(Filter { ids: vec!["x".into()], ..Filter::default() }));
        assert!(fits(Filter { older_than: span(60), newer_than: span(61), ..Filter::default() }));
        assert!(!fits(Filter { older_than: span(61), ..Filter::default() }));
        assert!(!fits(Filter { newer_than: span(60), ..Filter::default() }));
        for found in ["t-1", "HOST/A", "Max_", "status 5", ""] {
            assert!(fits(Filter { search: text(found), ..Filter::default() }), "{found}");
        }
        assert!(!fits(Filter { search: text("status 4"), ..Filter::default() }));
        assert!(!fits(Filter { search: text("quebert.high"), ..Filter::default() }), "the queue is no text to search");
    }

    #[test]
    fn every_reason_of_the_dispatchers_is_known() {
        for reason in BuryReason::ALL {
            assert!(KNOWN_REASONS.contains(&reason.label()), "{reason:?}");
        }
    }

    #[test]
    fn a_filter_that_nothing_can_fit_is_refused_with_its_field() {
        let refused = |said: DeadFilter| Filter::try_from(said).unwrap_err().field();
        assert_eq!(refused(DeadFilter { reason: Some("max_atempts".into()), ..DeadFilter::default() }), "reason");
        assert_eq!(refused(DeadFilter { older_than_ms: Some(1 << 63), ..DeadFilter::default() }), "older_than_ms");
        assert_eq!(refused(DeadFilter { search: Some("x".repeat(4097)), ..DeadFilter::default() }), "search");
    }
}

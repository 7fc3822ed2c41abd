//! Trace context of a request, which its tasks take along. What is invalid or too long is left out: it refuses no task.

use http::HeaderMap;
use quebert_dispatcher::trace::TraceParent;
use quebert_wire::{HeaderValue, Message};

/// Bytes of a header that is taken along: as many as W3C Trace Context asks everybody to pass on, for both headers.
const BYTES_MAX: usize = 512;

/// Headers for messages; none without a valid `traceparent`.
#[derive(Debug, Default)]
pub(super) struct Context(Vec<(&'static str, String)>);

impl Context {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            // Several of one name mean their list.
            let values: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
            values.map(|values| values.join(",")).filter(|text| (1..=BYTES_MAX).contains(&text.len()))
        };
        let Some(parent) = text("traceparent").filter(|text| TraceParent::parse(text).is_some()) else {
            return Self::default();
        };
        let others = ["tracestate", "baggage"].into_iter().filter_map(|name| Some((name, text(name)?)));
        Self([("traceparent", parent)].into_iter().chain(others).collect())
    }

    pub(super) fn give(&self, message: &mut Message) {
        for (name, text) in &self.0 {
            message.headers.insert((*name).to_owned(), HeaderValue::Text(text.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Context::of(&headers).0
    }

    #[test]
    fn a_valid_parent_is_taken_with_its_state() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let all = taken(&[("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(all, [("traceparent", parent.to_owned()), ("tracestate", "a=1,b=2".to_owned())]);
        assert_eq!(taken(&[("traceparent", parent), ("tracestate", &"x".repeat(513))]).len(), 1);
    }

    #[test]
    fn what_is_invalid_is_left_out_with_all_that_belongs_to_it() {
        assert_eq!(taken(&[("traceparent", "nonsense"), ("tracestate", "a=1")]), []);
        assert_eq!(taken(&[("tracestate", "a=1")]), []);
    }
}

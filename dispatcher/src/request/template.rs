//! The headers that no request lacks, made once for each lane. Cloning a map is cheaper than hashing and placing the same
//! ten names for each attempt.

use super::{
    name,
    text::{Dates, Values, is_plain, put_quoted, webhook_id},
};
use crate::ports::mediator::Attempt;
use bytes::BufMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;

/// A lane's headers, filled in for each attempt.
#[derive(Debug, Clone)]
pub(super) struct Template {
    lane: Arc<str>,
    /// What the lane's policy says; a task may have its own.
    max_attempts: Option<u32>,
    /// With a value that holds for the whole lane, or an empty one.
    headers: HeaderMap,
    /// What the map's values are, in its order.
    places: Vec<Place>,
    enqueued: Dates,
    deadlines: Dates,
}

/// What one of a request's headers tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    WebhookId,
    IdempotencyKey,
    Second,
    Attempt,
    MaxAttempts,
    DeliveryId,
    EnqueuedAt,
    Deadline,
    /// The same for all of the lane.
    Fixed,
}

impl Place {
    const FILLED: [(Self, HeaderName); 8] = [
        (Self::WebhookId, name::WEBHOOK_ID),
        (Self::Second, name::WEBHOOK_TIMESTAMP),
        (Self::IdempotencyKey, name::IDEMPOTENCY_KEY),
        (Self::Attempt, name::ATTEMPT),
        (Self::MaxAttempts, name::MAX_ATTEMPTS),
        (Self::DeliveryId, name::DELIVERY_ID),
        (Self::EnqueuedAt, name::ENQUEUED_AT),
        (Self::Deadline, name::DEADLINE),
    ];

    fn of(name: &HeaderName) -> Self {
        Self::FILLED.into_iter().find(|(_, known)| known == name).map_or(Self::Fixed, |(place, _)| place)
    }
}

impl Template {
    /// For the lane of this attempt.
    pub(super) fn new(attempt: &Attempt, user_agent: HeaderValue) -> Self {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        for (_, name) in Place::FILLED {
            headers.insert(name, HeaderValue::from_static(""));
        }
        headers.insert(name::MAX_ATTEMPTS, max_attempts(attempt.max_attempts, &mut Values::new()));
        if let Ok(lane) = HeaderValue::from_str(&attempt.lane) {
            headers.insert(name::QUEUE, lane);
        }
        headers.insert(header::USER_AGENT, user_agent);
        let places = headers.keys().map(Place::of).collect();
        Self {
            lane: attempt.lane.clone(),
            max_attempts: attempt.max_attempts,
            headers,
            places,
            enqueued: Dates::default(),
            deadlines: Dates::default(),
        }
    }

    pub(super) fn is_of(&self, lane: &Arc<str>) -> bool {
        self.lane == *lane
    }

    /// The headers of this attempt; `second` is when it is sent. What is not known is left out, and so is a value that no
    /// header can hold: the attempt matters more than its label.
    pub(super) fn fill(&mut self, attempt: &Attempt, second: &HeaderValue, values: &mut Values) -> HeaderMap {
        let mut headers = self.headers.clone();
        let id = attempt.task.id.as_str();
        let plain = is_plain(id);
        let mut absent = Vec::new();
        for (place, (name, value)) in self.places.iter().zip(headers.iter_mut()) {
            debug_assert_eq!(*place, Place::of(name), "a map and its clone tell their headers in the same order");
            let fit = match place {
                Place::WebhookId if plain => values.copy(id),
                Place::WebhookId => values.copy(&webhook_id(id)),
                Place::IdempotencyKey if plain => values.value(|out| {
                    out.put_u8(b'"');
                    out.put_slice(id.as_bytes());
                    out.put_u8(b'"');
                }),
                Place::IdempotencyKey => values.value(|out| put_quoted(out, id)),
                Place::Second => Some(second.clone()),
                Place::Attempt => Some(values.number(attempt.number.into())),
                Place::MaxAttempts if attempt.max_attempts == self.max_attempts => continue,
                Place::MaxAttempts => Some(max_attempts(attempt.max_attempts, values)),
                Place::DeliveryId => values.copy(&attempt.delivery_id),
                Place::EnqueuedAt => {
                    attempt.enqueued_at.and_then(|at| values.value(|out| out.put_slice(self.enqueued.text(at))))
                }
                Place::Deadline => values.value(|out| out.put_slice(self.deadlines.text(attempt.deadline))),
                Place::Fixed => continue,
            };
            match fit {
                Some(fit) => *value = fit,
                None => absent.push(name.clone()),
            }
        }
        for name in absent {
            headers.remove(name);
        }
        headers
    }
}

fn max_attempts(max: Option<u32>, values: &mut Values) -> HeaderValue {
    max.map_or(HeaderValue::from_static("unlimited"), |n| values.number(n.into()))
}

/// Those of the template, and room in its index for what a task and its attempt may add.
const HEADERS: usize = 24;

#[cfg(test)]
mod tests {
    use super::{super::tests::attempt, *};

    #[test]
    fn what_no_header_can_hold_is_left_out_and_the_rest_stays() {
        let mut attempt = attempt("t-1");
        attempt.delivery_id = "two\nlines".into();
        attempt.lane = "two\nlines".into();
        let mut template = Template::new(&attempt, HeaderValue::from_static("Quebert"));
        let headers = template.fill(&attempt, &HeaderValue::from_static("7"), &mut Values::new());
        assert!(!headers.contains_key(name::DELIVERY_ID));
        assert!(!headers.contains_key(name::QUEUE));
        assert_eq!(headers[name::WEBHOOK_ID], "t-1");
        assert_eq!(headers[name::WEBHOOK_TIMESTAMP], "7");
        assert_eq!(headers.len(), 7, "{headers:?}");
    }

    #[test]
    fn nothing_of_one_attempt_is_left_in_the_next() {
        let mut first = attempt("t-1");
        first.number = 12;
        first.max_attempts = Some(5);
        let mut template = Template::new(&first, HeaderValue::from_static("Quebert"));
        let mut fill = |attempt: &Attempt| template.fill(attempt, &HeaderValue::from_static("7"), &mut Values::new());
        assert_eq!(fill(&first)[name::MAX_ATTEMPTS], "5");
        let mut second = attempt("t-2");
        second.max_attempts = None;
        let headers = fill(&second);
        assert_eq!(headers[name::MAX_ATTEMPTS], "unlimited");
        assert_eq!(headers[name::ATTEMPT], "3");
        assert_eq!(headers[name::IDEMPOTENCY_KEY], "\"t-2\"");
        assert_eq!(fill(&first)[name::MAX_ATTEMPTS], "5");
    }
}

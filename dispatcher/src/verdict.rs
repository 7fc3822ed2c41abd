//! What becomes of a task after an attempt, and the rules that say so.
//!
//! The rules see one outcome only. Whether attempts or time are used up, and how long a delay gets, is not decided here.

use crate::{
    outcome::{Failure, FailureKind, Outcome, Response},
    planted::planted,
};
use http::{HeaderMap, StatusCode, header};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Done.
    Complete,
    /// Another attempt, no earlier than the policy or `after` says.
    Retry(Retry),
    /// Given up: kept as a dead letter.
    Bury {
        /// Why.
        reason: BuryReason,
        /// For people: a lowercase fragment without secrets, such as `status 410`.
        detail: String,
    },
    /// Its time is over.
    Expire,
    /// A hook wants it gone without a trace but the counters.
    Drop,
}

/// Why and when to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Why: a metric label.
    pub reason: RetryReason,
    /// When.
    pub after: RetryAfter,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// As the backoff says.
    Policy,
    /// As the backoff says, but no sooner than this (`Retry-After`), up to the policy's cap.
    AtLeast(Duration),
    /// Just this (`Quebert-Retry: after=`, or a mediator), up to the policy's cap.
    Exactly(Duration),
}

/// Why a task is tried again. The text is a metric label and a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryReason {
    /// A 5xx, or an answer that should not be there: 1xx, 3xx, a 2xx that the rules don't count as success, something
    /// that is not HTTP, a body beyond the limit.
    ServerError,
    /// 429.
    TooManyRequests,
    /// A 4xx that the policy retries.
    ClientError,
    /// No answer in time.
    Timeout,
    /// No connection, or one that ended before the answer.
    Connect,
    /// A hook or mediator said so, or failed.
    Hook,
    /// The destination took more than its share of the window. Uses up no attempt.
    Overload,
}

impl RetryReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 7] = [
        Self::ServerError,
        Self::TooManyRequests,
        Self::ClientError,
        Self::Timeout,
        Self::Connect,
        Self::Hook,
        Self::Overload,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ServerError => "5xx",
            Self::TooManyRequests => "429",
            Self::ClientError => "4xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Hook => "hook",
            Self::Overload => "overload",
        }
    }
}

/// Why a task is buried. The text is a metric label and a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuryReason {
    /// Attempts or age used up.
    MaxAttempts,
    /// A status that the config calls permanent, 410, or an executor's `Quebert-Retry: never`.
    Permanent,
    /// Its time was over, and the config keeps such tasks.
    Expired,
    /// What came could not be read as a task.
    Undecodable,
    /// Its address, scheme or size is not allowed.
    NotAllowed,
    /// Delivered again and again without an attempt that ended: it may be what kills dispatchers.
    MaxDeliveries,
    /// Due, but its queue is gone.
    Unroutable,
    /// A hook said so.
    Hook,
}

impl BuryReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 8] = [
        Self::MaxAttempts,
        Self::Permanent,
        Self::Expired,
        Self::Undecodable,
        Self::NotAllowed,
        Self::MaxDeliveries,
        Self::Unroutable,
        Self::Hook,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max_attempts",
            Self::Permanent => "permanent",
            Self::Expired => "expired",
            Self::Undecodable => "undecodable",
            Self::NotAllowed => "not_allowed",
            Self::MaxDeliveries => "max_deliveries",
            Self::Unroutable => "unroutable",
            Self::Hook => "hook",
        }
    }
}

/// Which statuses mean what, per lane. 410 buries whatever `permanent` says, unless it is among the successes: it is the
/// executor's word that there is nothing any more to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRules {
    /// `None`: any 2xx completes. `Some`: only these do.
    pub success: Option<BTreeSet<u16>>,
    /// These bury the task at once.
    pub permanent: BTreeSet<u16>,
}

impl Default for StatusRules {
    /// Any 2xx completes; 410 (gone) and 501 (not implemented) bury.
    fn default() -> Self {
        Self { success: None, permanent: BTreeSet::from([410, 501]) }
    }
}

impl StatusRules {
    /// Whether this status completes a task.
    pub fn is_success(&self, status: StatusCode) -> bool {
        match &self.success {
            None => status.is_success(),
            Some(list) => list.contains(&status.as_u16()),
        }
    }

    /// Whether this status, being no success, buries a task at once.
    pub fn is_permanent(&self, status: StatusCode) -> bool {
        status == StatusCode::GONE || self.permanent.contains(&status.as_u16())
    }
}

/// Says what an outcome means, in this order:
///
/// 1. A status that counts as success completes the task, whatever the headers say.
/// 2. The executor's `never` buries it: `Quebert-Retry: never`, `webhook-delivery: abort-message` (Svix), or 489 with
///    `Upstash-NonRetryable-Error: true` (QStash).
/// 3. 410 and the permanent statuses bury it. So does an address that the guard forbids.
/// 4. Anything else is retried: after exactly what `Quebert-Retry: after=` says, else no sooner than `Retry-After` says,
///    else by policy. `now` is what a `Retry-After` that names a date is compared with.
///
/// Headers that can't be read count as absent. The result is never `Expire` or `Drop`.
pub fn judge(outcome: &Outcome, rules: &StatusRules, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::Answered(response) => judge_answer(response, rules, now),
        Outcome::Failed(failure) => judge_failure(failure),
    }
}

fn judge_answer(response: &Response, rules: &StatusRules, now: Timestamp) -> Verdict {
    let (status, headers) = (response.status, &response.headers);
    if rules.is_success(status) {
        return Verdict::Complete;
    }
    let bury = |detail| Verdict::Bury { reason: BuryReason::Permanent, detail };
    if says_never(status, headers) {
        return bury("the executor said never".to_owned());
    }
    if rules.is_permanent(status) {
        let gone = if status == StatusCode::GONE { " (gone)" } else { "" };
        return bury(format!("status {}{gone}", status.as_u16()));
    }
    let after = quebert_retry_after(headers)
        .map(RetryAfter::Exactly)
        .or_else(|| retry_after(headers, now).filter(|_| !planted!(RetryAfterIgnored)).map(RetryAfter::AtLeast))
        .unwrap_or(RetryAfter::Policy);
    let reason = match status.as_u16() {
        429 => RetryReason::TooManyRequests,
        400..=499 => RetryReason::ClientError,
        _ => RetryReason::ServerError,
    };
    Verdict::Retry(Retry { reason, after })
}

fn judge_failure(failure: &Failure) -> Verdict {
    let reason = match failure.kind {
        FailureKind::ForbiddenAddress => {
            return Verdict::Bury { reason: BuryReason::NotAllowed, detail: failure.detail.clone() };
        }
        FailureKind::Dns
        | FailureKind::ConnectRefused
        | FailureKind::ConnectTimeout
        | FailureKind::Connect
        | FailureKind::Tls
        | FailureKind::ResetBeforeResponse => RetryReason::Connect,
        // An attempt that was cut off had no answer in the time that it was given.
        FailureKind::Timeout | FailureKind::Cancelled => RetryReason::Timeout,
        FailureKind::Protocol | FailureKind::BodyLimit => RetryReason::ServerError,
    };
    Verdict::Retry(Retry { reason, after: RetryAfter::Policy })
}

/// Whether the executor refuses further tries, in our words or in those of the services that it may come from.
fn says_never(status: StatusCode, headers: &HeaderMap) -> bool {
    let says = |name, word: &str| values(headers, name).any(|value| value.eq_ignore_ascii_case(word));
    says(QUEBERT_RETRY, "never")
        || says("webhook-delivery", "abort-message")
        || (status.as_u16() == 489 && says("upstash-nonretryable-error", "true"))
}

/// The delay of the first `Quebert-Retry: after=` that can be read: a whole number with the unit `ms`, `s`, `m` or `h`,
/// or without one, which means seconds.
fn quebert_retry_after(headers: &HeaderMap) -> Option<Duration> {
    values(headers, QUEBERT_RETRY).find_map(|value| {
        let (key, delay) = value.split_once('=')?;
        key.trim_end().eq_ignore_ascii_case("after").then(|| parse_delay(delay.trim_start())).flatten()
    })
}

fn parse_delay(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number = parse_whole(number)?;
    match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.saturating_mul(60))),
        "h" => Some(Duration::from_secs(number.saturating_mul(3600))),
        _ => None,
    }
}

/// `Retry-After` in its two forms (RFC 9110, section 10.2.3): seconds, or a date. A date in the past is no delay.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    values(headers, header::RETRY_AFTER.as_str()).find_map(|value| {
        parse_whole(value).map(Duration::from_secs).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
            let date = Timestamp::from_millis(i64::try_from(date.as_millis()).ok()?);
            Some(date.since(now))
        })
    })
}

/// A number of ASCII digits, held at the largest value: who asks for more is held at the policy's cap anyway.
fn parse_whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The values of a header that are text, without the space around them.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

const QUEBERT_RETRY: &str = "quebert-retry";

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// 2026-01-01T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Outcome {
        let headers = headers.iter().map(|(name, value)| {
            (
                header::HeaderName::from_static(name),
                header::HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
            )
        });
        Outcome::Answered(Response {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers.collect(),
            body: Bytes::new(),
            truncated: false,
        })
    }

    fn failure(kind: FailureKind) -> Outcome {
        Outcome::Failed(Failure { kind, detail: "what happened".to_owned(), reached: false })
    }

    fn retry(reason: RetryReason, after: RetryAfter) -> Verdict {
        Verdict::Retry(Retry { reason, after })
    }

    fn permanent(detail: &str) -> Verdict {
        Verdict::Bury { reason: BuryReason::Permanent, detail: detail.to_owned() }
    }

    #[track_caller]
    fn check_by(rules: &StatusRules, outcome: &Outcome, expect: &Verdict) {
        assert_eq!(judge(outcome, rules, NOW), *expect, "{outcome:?}");
    }

    #[track_caller]
    fn check(outcome: &Outcome, expect: &Verdict) {
        check_by(&StatusRules::default(), outcome, expect);
    }

    /// Checks what the headers of a 503 make of its delay.
    #[track_caller]
    fn check_after(headers: &[(&'static str, &str)], expect: RetryAfter) {
        check(&answer(503, headers), &retry(RetryReason::ServerError, expect));
    }

    #[test]
    fn any_2xx_completes_whatever_the_headers_say() {
        for status in 200..300 {
            check(&answer(status, &[]), &Verdict::Complete);
        }
        check(&answer(200, &[("quebert-retry", "never")]), &Verdict::Complete);
        check(&answer(204, &[("quebert-retry", "after=30s"), ("retry-after", "9")]), &Verdict::Complete);
    }

    #[test]
    fn anything_but_2xx_is_retried() {
        for status in (100..200).chain(300..1000) {
            let expect = match status {
                410 => permanent("status 410 (gone)"),
                501 => permanent("status 501"),
                429 => retry(RetryReason::TooManyRequests, RetryAfter::Policy),
                400..=499 => retry(RetryReason::ClientError, RetryAfter::Policy),
                _ => retry(RetryReason::ServerError, RetryAfter::Policy),
            };
            check(&answer(status, &[]), &expect);
        }
    }

    #[test]
    fn success_can_be_narrowed_and_what_is_left_of_2xx_is_retried() {
        let only_200 = StatusRules { success: Some(BTreeSet::from([200])), ..StatusRules::default() };
        check_by(&only_200, &answer(200, &[]), &Verdict::Complete);
        check_by(&only_200, &answer(202, &[]), &retry(RetryReason::ServerError, RetryAfter::Policy));
        let also_409 = StatusRules { success: Some(BTreeSet::from([200, 409, 410])), ..StatusRules::default() };
        check_by(&also_409, &answer(409, &[("quebert-retry", "never")]), &Verdict::Complete);
        check_by(&also_409, &answer(410, &[]), &Verdict::Complete);
    }

    #[test]
    fn permanent_statuses_are_the_configs_and_410_always() {
        let rules = StatusRules { success: None, permanent: BTreeSet::from([400, 302]) };
        check_by(&rules, &answer(400, &[]), &permanent("status 400"));
        check_by(&rules, &answer(302, &[("quebert-retry", "after=1s")]), &permanent("status 302"));
        check_by(&rules, &answer(410, &[]), &permanent("status 410 (gone)"));
        check_by(&rules, &answer(501, &[]), &retry(RetryReason::ServerError, RetryAfter::Policy));
    }

    #[test]
    fn an_executor_can_say_never() {
        let never = permanent("the executor said never");
        check(&answer(500, &[("quebert-retry", "never")]), &never);
        check(&answer(429, &[("quebert-retry", "  Never "), ("retry-after", "5")]), &never);
        check(&answer(500, &[("quebert-retry", "after=5s"), ("quebert-retry", "never")]), &never);
        check(&answer(489, &[("upstash-nonretryable-error", "true")]), &never);
        check(&answer(500, &[("webhook-delivery", "abort-message")]), &never);
        check(
            &answer(500, &[("upstash-nonretryable-error", "true")]),
            &retry(RetryReason::ServerError, RetryAfter::Policy),
        );
        check(
            &answer(489, &[("upstash-nonretryable-error", "false")]),
            &retry(RetryReason::ClientError, RetryAfter::Policy),
        );
    }

    #[test]
    fn an_executor_can_name_the_exact_delay() {
        #[track_caller]
        fn check_exactly(value: &str, ms: u64) {
            check_after(&[("quebert-retry", value)], RetryAfter::Exactly(Duration::from_millis(ms)));
        }
        check_exactly("after=250ms", 250);
        check_exactly("after=30s", 30_000);
        check_exactly("after=30", 30_000);
        check_exactly("after=5m", 300_000);
        check_exactly("after=2h", 7_200_000);
        check_exactly(" After = 30 s ", 30_000);
        check_exactly("after=0", 0);
        check_after(
            &[("quebert-retry", "after=99999999999999999999h")],
            RetryAfter::Exactly(Duration::from_secs(u64::MAX)),
        );
        let both = [("retry-after", "60"), ("quebert-retry", "soon"), ("quebert-retry", "after=3s")];
        check_after(&both, RetryAfter::Exactly(Duration::from_secs(3)));
    }

    #[test]
    fn retry_after_in_both_forms_is_a_lower_bound() {
        #[track_caller]
        fn check_at_least(value: &str, secs: u64) {
            check_after(&[("retry-after", value)], RetryAfter::AtLeast(Duration::from_secs(secs)));
        }
        check_at_least("120", 120);
        check_at_least("0", 0);
        check_at_least("99999999999999999999", u64::MAX);
        check_at_least("Thu, 01 Jan 2026 00:01:30 GMT", 90);
        check_at_least("Thursday, 01-Jan-26 00:01:30 GMT", 90);
        check_at_least("Thu Jan  1 00:01:30 2026", 90);
        check_at_least("Wed, 31 Dec 2025 23:59:59 GMT", 0);
        for (status, reason) in [
            (429, RetryReason::TooManyRequests),
            (404, RetryReason::ClientError),
            (301, RetryReason::ServerError),
            (500, RetryReason::ServerError),
        ] {
            let wait = RetryAfter::AtLeast(Duration::from_secs(7));
            check(&answer(status, &[("retry-after", "7")]), &retry(reason, wait));
        }
    }

    #[test]
    fn headers_that_cant_be_read_count_as_absent() {
        for value in ["", "soon", "-1", "+5", "1.5", "5 s", "0x10", "１２", "Thu, 99 Jan 2026 00:00:00 GMT", "\u{e9}"]
        {
            check_after(&[("retry-after", value)], RetryAfter::Policy);
        }
        for value in ["", "after", "after=", "after=s", "after=-1s", "after=1.5s", "after=1d", "before=1s", "nevermore"]
        {
            check_after(&[("quebert-retry", value)], RetryAfter::Policy);
        }
        let unreadable_then_good = [("quebert-retry", "after=x"), ("retry-after", "4")];
        check_after(&unreadable_then_good, RetryAfter::AtLeast(Duration::from_secs(4)));
    }

    #[test]
    fn failures_are_retried_but_for_forbidden_addresses() {
        for (kind, reason) in [
            (FailureKind::Dns, RetryReason::Connect),
            (FailureKind::ConnectRefused, RetryReason::Connect),
            (FailureKind::ConnectTimeout, RetryReason::Connect),
            (FailureKind::Connect, RetryReason::Connect),
            (FailureKind::Tls, RetryReason::Connect),
            (FailureKind::ResetBeforeResponse, RetryReason::Connect),
            (FailureKind::Timeout, RetryReason::Timeout),
            (FailureKind::Cancelled, RetryReason::Timeout),
            (FailureKind::Protocol, RetryReason::ServerError),
            (FailureKind::BodyLimit, RetryReason::ServerError),
        ] {
            check(&failure(kind), &retry(reason, RetryAfter::Policy));
        }
        let not_allowed = Verdict::Bury { reason: BuryReason::NotAllowed, detail: "what happened".to_owned() };
        check(&failure(FailureKind::ForbiddenAddress), &not_allowed);
    }
}

//! What an executor is like, as said in one line of words. It holds no state.
//!
//! ```text
//! name=main                 what the mix calls it
//! latency=exp:20ms          how long it works: any distribution
//! workers=8                 only so many requests are worked on at a time, the others wait in line; or
//! slope=1 capacity=64       with n under way it takes 1 + slope * n / capacity times as long
//! status=503:3%             a share of the answers, as often as wanted; the rest is 200
//! fail-first=2              the first two attempts of every task are answered 503
//! limit=200/s burst=20      more than that is answered 429, with retry-after=seconds, date or none
//! outage=refuse:10s..15s    also reset, hang, truncate, slow:10s..15s:2s, drip:10s..15s:2s, status:10s..15s:503
//! keep-alive=off            closes each connection after its answer
//! ```

use crate::{
    dist::{self, Dist},
    quantity::{self, Unclear},
    words::Words,
};
use http::StatusCode;
use std::{ops::Range, str::FromStr, time::Duration};

/// One executor.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorSpec {
    /// What the mix calls it.
    pub name: String,
    /// How long it works on a request, in seconds.
    pub latency: Dist,
    /// How that depends on what it has to do.
    pub load: Load,
    /// Shares of the answers that have another status than 200; at most 1 together.
    pub statuses: Vec<(StatusCode, f64)>,
    /// So many attempts of every task fail first.
    pub fail_first: u32,
    /// What it takes at most.
    pub limit: Option<Limit>,
    /// When it misbehaves.
    pub outages: Vec<Outage>,
    /// Whether connections may be used again.
    pub keep_alive: bool,
}

/// How the time of a request depends on the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Not at all.
    Free,
    /// So many at a time, the others in line.
    Workers(u32),
    /// 1 + slope * n / capacity times as long with n under way.
    Slope {
        /// What it grows by at full capacity.
        slope: f64,
        /// Requests under way at full capacity.
        capacity: f64,
    },
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Requests a second.
    pub per_s: f64,
    /// Requests at once.
    pub burst: f64,
    /// How the answer says when to come again.
    pub retry_after: RetryAfterForm,
}

/// The forms of `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfterForm {
    /// Whole seconds.
    Seconds,
    /// An HTTP date.
    Date,
    /// The header is left out.
    None,
}

/// A stretch of misbehaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct Outage {
    /// From the start of the run.
    pub during: Range<Duration>,
    /// What it does then.
    pub kind: OutageKind,
}

/// Kinds of misbehaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// Nobody listens, and open connections end.
    Refuse,
    /// Connections are reset instead of an answer.
    Reset,
    /// No answer comes.
    Hang,
    /// The answer's body ends too early.
    Truncate,
    /// The answer comes later by this.
    Slow(Duration),
    /// The answer's head comes as ever, and its body later by this.
    Drip(Duration),
    /// Everything is answered with this status.
    Status(StatusCode),
}

impl ExecutorSpec {
    /// One that answers 200 at once.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            latency: Dist::Constant(0.0),
            load: Load::Free,
            statuses: Vec::new(),
            fail_first: 0,
            limit: None,
            outages: Vec::new(),
            keep_alive: true,
        }
    }
}

impl FromStr for ExecutorSpec {
    type Err = Unclear;

    fn from_str(line: &str) -> Result<Self, Unclear> {
        let mut words = Words::parse(line)?;
        let mut spec = Self::new(words.one("name")?.unwrap_or("main"));
        spec.latency = words.read("latency", |text| Dist::parse(text, dist::seconds))?.unwrap_or(spec.latency);
        spec.load = load(&mut words)?;
        for word in words.all("status") {
            spec.statuses.push(share_of_status(word)?);
        }
        if spec.statuses.iter().map(|(_, share)| share).sum::<f64>() > 1.0 + 1e-9 {
            return Err(Unclear::new("shares of statuses that are at most 100% together", line));
        }
        let small = |text| u32::try_from(quantity::count(text)?).map_err(|_| Unclear::new("a smaller number", text));
        spec.fail_first = words.read("fail-first", small)?.unwrap_or(0);
        spec.limit = limit(&mut words)?;
        for word in words.all("outage") {
            spec.outages.push(outage(word)?);
        }
        spec.keep_alive = words.read("keep-alive", on_or_off)?.unwrap_or(true);
        words.end("name, latency, workers, slope, capacity, status, fail-first, limit, burst, retry-after, outage, keep-alive")?;
        Ok(spec)
    }
}

fn load(words: &mut Words<'_>) -> Result<Load, Unclear> {
    let workers = words.read("workers", |text| match quantity::count(text)?.try_into() {
        Ok(0) | Err(_) => Err(Unclear::new("from 1 to 4294967295", text)),
        Ok(workers) => Ok(workers),
    })?;
    let slope = words.read("slope", quantity::number)?;
    let capacity = words.read("capacity", |text| match quantity::number(text)? {
        0.0 => Err(Unclear::new("a number above 0", text)),
        capacity => Ok(capacity),
    })?;
    match (workers, slope, capacity) {
        (None, None, None) => Ok(Load::Free),
        (Some(workers), None, None) => Ok(Load::Workers(workers)),
        (None, Some(slope), Some(capacity)) => Ok(Load::Slope { slope, capacity }),
        _ => Err(Unclear::new("either workers, or slope and capacity", "workers, slope, capacity")),
    }
}

fn limit(words: &mut Words<'_>) -> Result<Option<Limit>, Unclear> {
    let per_s = words.read("limit", |text| match quantity::rate(text)? {
        0.0 => Err(Unclear::new("a rate above 0", text)),
        rate => Ok(rate),
    })?;
    let burst = words.read("burst", quantity::number)?;
    let retry_after = words.read("retry-after", |text| match text {
        "seconds" => Ok(RetryAfterForm::Seconds),
        "date" => Ok(RetryAfterForm::Date),
        "none" => Ok(RetryAfterForm::None),
        _ => Err(Unclear::new("seconds, date or none", text)),
    })?;
    match per_s {
        None if burst.is_some() || retry_after.is_some() => {
            Err(Unclear::new("limit=RATE beside it", "burst, retry-after"))
        }
        None => Ok(None),
        Some(per_s) => Ok(Some(Limit {
            per_s,
            burst: burst.unwrap_or(per_s).max(1.0),
            retry_after: retry_after.unwrap_or(RetryAfterForm::Seconds),
        })),
    }
}

fn share_of_status(word: &str) -> Result<(StatusCode, f64), Unclear> {
    let (code, share) = word.split_once(':').ok_or_else(|| Unclear::new("status=CODE:SHARE such as 503:3%", word))?;
    Ok((status(code)?, quantity::share(share)?))
}

fn status(code: &str) -> Result<StatusCode, Unclear> {
    let known = code.parse::<StatusCode>().ok().filter(|status| status.as_u16() >= 200);
    known.ok_or_else(|| Unclear::new("a status from 200 to 999", code))
}

/// `KIND:FROM..UNTIL` or `KIND:FROM..UNTIL:VALUE`
fn outage(word: &str) -> Result<Outage, Unclear> {
    let parts = word.splitn(3, ':').collect::<Vec<_>>();
    let wanted = || Unclear::new("KIND:FROM..UNTIL such as refuse:10s..15s", word);
    let (from, until) = parts.get(1).and_then(|range| range.split_once("..")).ok_or_else(wanted)?;
    let (from, until) = (quantity::duration(from)?, quantity::duration(until)?);
    if from >= until {
        return Err(Unclear::new("an end that is after the beginning", word));
    }
    let kind = match (parts[0], parts.get(2)) {
        ("refuse", None) => OutageKind::Refuse,
        ("reset", None) => OutageKind::Reset,
        ("hang", None) => OutageKind::Hang,
        ("truncate", None) => OutageKind::Truncate,
        ("slow", Some(by)) => OutageKind::Slow(quantity::duration(by)?),
        ("drip", Some(by)) => OutageKind::Drip(quantity::duration(by)?),
        ("status", Some(code)) => OutageKind::Status(status(code)?),
        _ => return Err(Unclear::new("refuse, reset, hang or truncate, or slow, drip or status with a value", word)),
    };
    Ok(Outage { during: from..until, kind })
}

fn on_or_off(text: &str) -> Result<bool, Unclear> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Unclear::new("on or off", text)),
    }
}

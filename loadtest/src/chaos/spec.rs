//! What is done to the system, as said in a line. It does nothing.
//!
//! ```text
//! kill dispatcher at 10s restart after 2s     kill -9; `kill dispatcher 2 at ..` is the second one
//! kill broker at 10s restart after 2s         of the private RabbitMQ, or of the process that has the embedded broker
//! cut link 10s..15s                           connections between dispatchers and RabbitMQ end, and no new one is made
//! stall link of dispatcher 2 10s..15s         of one dispatcher alone; nothing gets through, and nothing ends
//! slow link 10s..15s by 200ms                 whatever is sent arrives later by this, either way
//! ```

use super::LinkState;
use crate::quantity::{self, Unclear};
use std::{fmt, str::FromStr, time::Duration};

/// What is down without an end is down to the end of the run.
const FOREVER: Duration = Duration::MAX;

/// A planned fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    /// What is done.
    pub deed: Deed,
    /// When, from the start of the run.
    pub from: Duration,
    /// When it is undone; [`Duration::MAX`] if never.
    pub until: Duration,
    text: String,
}

/// What is done. Dispatchers are counted from 0 here, and from 1 in texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// kill -9, and it is started again at the end.
    KillDispatcher(usize),
    /// The same to the broker.
    KillBroker,
    /// The link of one dispatcher, or of all, is like this.
    Link(Option<usize>, LinkState),
}

impl FaultSpec {
    /// Whether it ever ends.
    pub fn ends(&self) -> bool {
        self.until != FOREVER
    }

    /// Whether both do something to the same thing at a time, so that the end of one would undo the other.
    pub fn meets(&self, other: &Self) -> bool {
        let same = match (self.deed, other.deed) {
            (Deed::KillDispatcher(a), Deed::KillDispatcher(b)) => a == b,
            (Deed::KillBroker, Deed::KillBroker) => true,
            (Deed::Link(a, _), Deed::Link(b, _)) => a.is_none() || b.is_none() || a == b,
            _ => false,
        };
        same && self.overlaps(other)
    }

    /// Whether both last at some moment.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.from <= other.until && other.from <= self.until
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FaultSpec {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Self, Unclear> {
        let words = text.split_whitespace().collect::<Vec<_>>();
        let (deed, from, until) = match words.as_slice() {
            ["kill", "broker", rest @ ..] => {
                let (from, until) = stretch_of_kill(rest, text)?;
                (Deed::KillBroker, from, until)
            }
            ["kill", "dispatcher", rest @ ..] if rest.first() == Some(&"at") => kill(0, rest, text)?,
            ["kill", "dispatcher", number, rest @ ..] => kill(index(number)?, rest, text)?,
            [how, "link", "of", "dispatcher", number, rest @ ..] => link(how, Some(index(number)?), rest, text)?,
            [how, "link", rest @ ..] => link(how, None, rest, text)?,
            _ => return Err(Unclear::new("kill dispatcher, kill broker, cut link, stall link or slow link", text)),
        };
        Ok(Self { deed, from, until, text: words.join(" ") })
    }
}

fn kill(dispatcher: usize, rest: &[&str], text: &str) -> Result<(Deed, Duration, Duration), Unclear> {
    let (from, until) = stretch_of_kill(rest, text)?;
    Ok((Deed::KillDispatcher(dispatcher), from, until))
}

fn stretch_of_kill(rest: &[&str], text: &str) -> Result<(Duration, Duration), Unclear> {
    match rest {
        ["at", at] => Ok((quantity::duration(at)?, FOREVER)),
        ["at", at, "restart", "after", after] => {
            let from = quantity::duration(at)?;
            Ok((from, from + quantity::duration(after)?))
        }
        _ => Err(Unclear::new("at MOMENT, or at MOMENT restart after DURATION", text)),
    }
}

fn link(how: &str, of: Option<usize>, rest: &[&str], text: &str) -> Result<(Deed, Duration, Duration), Unclear> {
    let (state, range) = match (how, rest) {
        ("cut", [range]) => (LinkState::Cut, range),
        ("stall", [range]) => (LinkState::Stalled, range),
        ("slow", [range, "by", by]) => (LinkState::Slow(quantity::duration(by)?), range),
        _ => {
            return Err(Unclear::new(
                "cut link FROM..UNTIL, stall link FROM..UNTIL, or slow link FROM..UNTIL by DELAY",
                text,
            ));
        }
    };
    let wanted = || Unclear::new("FROM..UNTIL such as 10s..15s", *range);
    let (from, until) = range.split_once("..").ok_or_else(wanted)?;
    let (from, until) = (quantity::duration(from)?, quantity::duration(until)?);
    if from >= until {
        return Err(Unclear::new("an end that is after the beginning", *range));
    }
    Ok((Deed::Link(of, state), from, until))
}

fn index(number: &str) -> Result<usize, Unclear> {
    let from_1 = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    from_1.ok_or_else(|| Unclear::new("the number of a dispatcher, from 1", number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, deed: Deed, from_s: u64, until: Duration) {
        let spec = text.parse::<FaultSpec>().unwrap();
        assert_eq!((spec.deed, spec.from, spec.until), (deed, Duration::from_secs(from_s), until), "{text}");
        assert_eq!(spec.to_string().parse(), Ok(spec));
    }

    #[test]
    fn faults_are_read() {
        let s = Duration::from_secs;
        check("kill dispatcher at 10s restart after 2s", Deed::KillDispatcher(0), 10, s(12));
        check("kill  dispatcher 2 at 10s", Deed::KillDispatcher(1), 10, FOREVER);
        check("kill broker at 1m restart after 0s", Deed::KillBroker, 60, s(60));
        check("cut link 10s..15s", Deed::Link(None, LinkState::Cut), 10, s(15));
        check("stall link of dispatcher 3 10s..15s", Deed::Link(Some(2), LinkState::Stalled), 10, s(15));
        let slow = LinkState::Slow(Duration::from_millis(200));
        check("slow link 10s..15s by 200ms", Deed::Link(None, slow), 10, s(15));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "",
            "kill executor at 10s",
            "kill dispatcher",
            "kill dispatcher 0 at 10s",
            "kill broker at 10s restart",
            "cut link 15s..10s",
            "cut link 10s",
            "slow link 10s..15s",
            "cut link 10s..15s by 2s",
            "stall link of dispatcher 10s..15s",
        ] {
            assert!(text.parse::<FaultSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn faults_meet_where_one_would_undo_the_other() {
        let meet = |a: &str, b: &str| a.parse::<FaultSpec>().unwrap().meets(&b.parse().unwrap());
        assert!(meet("cut link 10s..15s", "slow link of dispatcher 1 12s..20s by 1ms"));
        assert!(meet("kill dispatcher at 10s", "kill dispatcher 1 at 20s restart after 1s"));
        assert!(!meet("kill dispatcher at 10s restart after 1s", "kill dispatcher at 20s restart after 1s"));
        assert!(!meet("cut link of dispatcher 1 10s..15s", "cut link of dispatcher 2 10s..15s"));
        assert!(!meet("cut link 10s..15s", "kill dispatcher at 10s restart after 1s"));
    }
}

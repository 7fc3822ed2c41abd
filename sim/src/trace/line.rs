//! One entry of the history as one line. Times are in seconds of true time, fields stand in a fixed order, text that others
//! wrote is quoted as in JSON. There are no addresses of memory, no floats, and nothing that depends on hash order.

use crate::{
    history::{Entry, Order, What},
    host::Host,
};
use quebert_dispatcher::{
    event::Event,
    ports::broker::{Source, Tag, Target},
};
use std::{
    fmt::{self, Display, Write as _},
    time::Duration,
};

/// Appends the line of an entry, without its end:
/// `    12.345678 dispatcher-1  attempt t17 n=2 lane=high to=http://executor-1 body=120 at=2026-01-01T00:00:12.345Z`.
pub fn line(entry: &Entry, out: &mut String) {
    let (seconds, micros) = (entry.at.as_secs(), entry.at.subsec_micros());
    let _ = write!(out, "{seconds:>6}.{micros:06} {:<13} ", Name(entry.host));
    Line(out).what(&entry.what);
}

struct Line<'a>(&'a mut String);

impl Line<'_> {
    fn word(&mut self, word: impl Display) -> &mut Self {
        let _ = write!(self.0, "{word}");
        self
    }

    /// What it is about: stands without a name.
    fn about(&mut self, thing: impl Display) -> &mut Self {
        let _ = write!(self.0, " {thing}");
        self
    }

    fn field(&mut self, name: &str, value: impl Display) -> &mut Self {
        let _ = write!(self.0, " {name}={value}");
        self
    }

    fn flag(&mut self, name: &str, set: bool) -> &mut Self {
        if set { self.about(name) } else { self }
    }

    fn maybe<T: Display>(&mut self, name: &str, value: Option<T>) -> &mut Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Somebody's words: quoted, since they may contain anything.
    fn quote(&mut self, name: &str, text: &str) -> &mut Self {
        let quoted = serde_json::to_string(text).expect("a string is plain data");
        self.field(name, quoted)
    }

    fn what(&mut self, what: &What) -> &mut Self {
        match what {
            What::Started => self.word("started"),
            What::Down => self.word("down"),
            What::Fault { index, begins } => {
                self.word(if *begins { "fault-begins" } else { "fault-ends" }).about(format_args!("#{index}"))
            }
            What::Healed => self.word("healed"),
            What::Offered { task, n } => self.word("offered").about(task).field("n", n),
            What::Confirmed { task } => self.word("confirmed").about(task),
            What::NotConfirmed { task, why, unknown } => {
                self.word("not-confirmed").about(task).flag("unknown", *unknown).quote("why", why)
            }
            What::Stored { copy, target, task, by, attempts } => self
                .word("stored")
                .about(Maybe(*task))
                .field("copy", copy.0)
                .field("in", To(target))
                .field("by", by)
                .field("attempts", attempts),
            What::Delivered { copy, tag, source, to, redelivered } => self
                .word("delivered")
                .field("copy", copy.0)
                .field("tag", TagText(*tag))
                .field("from", From(source))
                .field("to", to)
                .flag("redelivered", *redelivered),
            What::Acked { copy, by } => self.word("acked").field("copy", copy.0).field("by", by),
            What::Returned { copy, why } => self.word("returned").field("copy", copy.0).field("why", why),
            What::BuriedByBroker { copy, dead } => {
                self.word("buried-by-broker").field("copy", copy.0).field("as", dead.0)
            }
            What::Unstored { copy } => self.word("unstored").field("copy", copy.0),
            What::Revived { copy, target, task } => {
                self.word("revived").about(Maybe(*task)).field("copy", copy.0).field("in", To(target))
            }
            What::Answered { copy, to, how } => {
                self.word("answered").maybe("copy", copy.map(|copy| copy.0)).field("to", to).field("how", how)
            }
            What::Opened { by, source, opening, window } => self
                .word("opened")
                .field("by", by)
                .field("source", From(source))
                .field("opening", opening.0)
                .field("window", window),
            What::Closed { by, opening } => self.word("closed").field("by", by).field("opening", opening.0),
            What::Event(event) => self.event(event),
            What::Told(order) => self.word("told").order(order),
            What::Ended(summary) => {
                self.word("ended").field("deliveries", summary.deliveries).field("held", summary.held);
                for (settlement, count) in &summary.settlements {
                    self.field(settlement.label(), count);
                }
                self
            }
            What::Request { task, attempt, delivery, request, redelivered, intact, exec: _ } => self
                .word("request")
                .about(task)
                .field("n", attempt)
                .field("request", request)
                .quote("delivery", delivery)
                .flag("redelivered", *redelivered)
                .flag("damaged", !*intact),
            What::Reply { request, status } => match status {
                Some(status) => self.word("reply").field("request", request).field("status", status),
                None => self.word("reply").field("request", request).about("none"),
            },
        }
    }

    fn order(&mut self, order: &Order) -> &mut Self {
        match order {
            Order::Drain(grace) => self.about("drain").field("grace", Span(*grace)),
            Order::Reconfigure { slots_max } => self.about("reconfigure").maybe("slots", *slots_max),
            Order::Pause(lane) => self.about("pause").field("lane", lane),
            Order::Resume(lane) => self.about("resume").field("lane", lane),
        }
    }

    fn event(&mut self, event: &Event) -> &mut Self {
        match event {
            Event::BrokerConnected => self.word("connected"),
            Event::BrokerDisconnected { reason, detail } => {
                self.word("disconnected").field("reason", reason).quote("detail", detail)
            }
            Event::BrokerBlocked(blocked) => self.word(if *blocked { "blocked" } else { "unblocked" }),
            Event::SourceFailed { source, detail } => {
                self.word("source-failed").field("source", From(source)).quote("detail", detail)
            }
            Event::LaneOpen { lane, open } => {
                self.word(if *open { "lane-open" } else { "lane-closed" }).field("lane", lane)
            }
            Event::Delivered { lane, tag, redelivered } => {
                self.word("arrived").field("lane", lane).field("tag", TagText(*tag)).flag("redelivered", *redelivered)
            }
            Event::Settled { lane, result, task, attempts, age, .. } => self
                .word("settled")
                .about(Maybe(task.as_ref()))
                .field("as", result.label())
                .field("lane", lane)
                .field("attempts", attempts)
                .maybe("age", age.map(Span)),
            Event::Waited { lane, wait, skewed, .. } => {
                self.word("waited").field("lane", lane).field("wait", Span(*wait)).flag("skewed", *skewed)
            }
            Event::Lag { lane, lag } => self.word("lag").field("lane", lane).field("lag", Span(*lag)),
            Event::AttemptStarted { lane, task, number, destination, body_bytes, at, .. } => self
                .word("attempt")
                .about(task)
                .field("n", number)
                .field("lane", lane)
                .field("to", destination)
                .field("body", body_bytes)
                .field("at", at),
            Event::AttemptEnded { lane, task, number, destination, class, status, detail, duration, .. } => {
                self.word("attempt-ended").about(task).field("n", number).field("class", class);
                self.maybe("status", *status).field("took", Span(*duration));
                self.field("lane", lane).field("to", destination);
                match detail {
                    Some(detail) => self.quote("detail", detail),
                    None => self,
                }
            }
            event => self.rare(event),
        }
    }

    /// What happens now and then.
    fn rare(&mut self, event: &Event) -> &mut Self {
        match event {
            Event::RetryScheduled { lane, task, reason, attempts, delay, .. } => self
                .word("retry")
                .about(task)
                .field("why", reason.label())
                .field("attempts", attempts)
                .field("delay", Span(*delay))
                .field("lane", lane),
            Event::Buried { lane, task, reason, detail, .. } => self
                .word("buried")
                .about(Maybe(task.as_ref()))
                .field("why", reason.label())
                .field("lane", lane)
                .quote("detail", detail),
            Event::Expired { lane, task, stage, .. } => {
                self.word("expired").about(task).field("stage", stage.label()).field("lane", lane)
            }
            Event::DelayedCancelled { lane, task, attempts } => {
                self.word("delayed-cancelled").about(task).field("attempts", attempts).maybe("lane", lane.as_ref())
            }
            Event::Published { purpose, result, duration } => self
                .word("published")
                .field("for", purpose.label())
                .field("result", result)
                .field("took", Span(*duration)),
            Event::HookFailed { hook, phase, detail } => {
                self.word("hook-failed").field("hook", hook).field("phase", phase).quote("detail", detail)
            }
            Event::HookRan { hook, phase, duration } => {
                self.word("hook-ran").field("hook", hook).field("phase", phase).field("took", Span(*duration))
            }
            Event::UnknownFields { lane, fields } => {
                self.word("unknown-fields").field("lane", lane).quote("fields", &fields.join(" "))
            }
            Event::Held { lane, in_flight, buffered } => {
                self.word("held").field("lane", lane).field("in-flight", in_flight).field("buffered", buffered)
            }
            Event::DestinationInFlight { destination, in_flight, limit } => {
                self.word("destination").field("to", destination).field("in-flight", in_flight).field("limit", limit)
            }
            Event::LanePaused { lane, paused } => {
                self.word(if *paused { "lane-paused" } else { "lane-resumed" }).field("lane", lane)
            }
            Event::Draining => self.word("draining"),
            Event::Reconfigured => self.word("reconfigured"),
            // The event type is open: a new one is at least not lost.
            other => self.word("event").quote("debug", &format!("{other:?}")),
        }
    }
}

/// Pads as a text does; `Host` itself ignores widths.
struct Name(Host);

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

struct Maybe<T>(Option<T>);

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(thing) => thing.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// In seconds: three digits behind the point, or six where it is not a whole number of milliseconds.
struct Span(Duration);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.subsec_micros();
        if micros.is_multiple_of(1000) {
            write!(f, "{}.{:03}", self.0.as_secs(), micros / 1000)
        } else {
            write!(f, "{}.{micros:06}", self.0.as_secs())
        }
    }
}

struct TagText(Tag);

impl Display for TagText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.opening.0, self.0.seq)
    }
}

struct To<'a>(&'a Target);

impl Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Queue(name) => f.write_str(name),
            Target::Delay(step) => write!(f, "delay:{}", Span(step.length())),
            Target::Dead(name) => write!(f, "dead:{name}"),
        }
    }
}

struct From<'a>(&'a Source);

impl Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::Queue(name) => f.write_str(name),
            Source::Delay(step) => write!(f, "delay:{}", Span(step.length())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{CopyNo, TaskNo};
    use quebert_dispatcher::{grid::Step, ports::broker::Opening};

    #[track_caller]
    fn check(at: Duration, host: Host, what: What, expect: &str) {
        let mut text = String::new();
        line(&Entry { at, host, what }, &mut text);
        assert_eq!(text, expect);
    }

    #[test]
    fn a_line_has_time_host_and_fields_in_one_order() {
        let at = Duration::from_micros(12_345_678);
        check(at, Host::Producer(1), What::Confirmed { task: TaskNo(17) }, "    12.345678 producer-1    confirmed t17");
        let what = What::Delivered {
            copy: CopyNo(4),
            tag: Tag { opening: Opening(2), seq: 9 },
            source: Source::Delay(Step::FIRST),
            to: Host::Dispatcher(3),
            redelivered: true,
        };
        let expect =
            "    12.345678 broker-1      delivered copy=4 tag=2/9 from=delay:1.000 to=dispatcher-3 redelivered";
        check(at, Host::Broker(1), what, expect);
        let what = What::Stored {
            copy: CopyNo(5),
            target: Target::Dead("high".into()),
            task: None,
            by: Host::Dispatcher(1),
            attempts: 3,
        };
        let expect = "     0.000000 broker-1      stored - copy=5 in=dead:high by=dispatcher-1 attempts=3";
        check(Duration::ZERO, Host::Broker(1), what, expect);
    }

    #[test]
    fn what_others_wrote_can_never_break_a_line() {
        let why = "no\nline \"end\"".to_owned();
        let what = What::NotConfirmed { task: TaskNo(1), why, unknown: true };
        let expect = r#"     0.000000 producer-2    not-confirmed t1 unknown why="no\nline \"end\"""#;
        check(Duration::ZERO, Host::Producer(2), what, expect);
    }

    #[test]
    fn spans_show_microseconds_only_where_there_are_any() {
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1.500");
        assert_eq!(Span(Duration::from_micros(1_500_001)).to_string(), "1.500001");
    }
}

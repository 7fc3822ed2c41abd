//! The channels of a session: what is open, what is being closed, and what is to be opened again. It decides what to send,
//! and sends nothing.

use super::shared::{Orders, Want};
use crate::broker::wire::Ask;
use quebert_dispatcher::ports::broker::{BrokerEvent, Delivery, Opening, Source, Tag};
use quebert_wire::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The first pause between two tries at one source, and the longest, as with the production adapter.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// An opening that lasted this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// One channel.
struct Channel {
    source: Source,
    want: Want,
    /// `None` until the broker has opened it.
    opening: Option<Opening>,
    since: Duration,
    /// What is unsettled.
    held: BTreeSet<u64>,
    /// Its end was asked for: nothing more is told of it.
    closing: bool,
}

/// A source that could not be opened, or not be kept open.
struct Failing {
    at: Duration,
    pause: Duration,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

/// The channels of one session.
#[derive(Default)]
pub(super) struct Channels {
    all: BTreeMap<u64, Channel>,
    by_opening: BTreeMap<Opening, u64>,
    failing: BTreeMap<Source, Failing>,
    last: u64,
}

impl Channels {
    /// Closes, pauses and opens until what is open is what is wanted.
    pub(super) fn reconcile(
        &mut self,
        now: Duration,
        orders: &Orders,
        ask: &mut impl FnMut(Ask),
        events: &mut impl Extend<BrokerEvent>,
    ) {
        for (number, channel) in &mut self.all {
            let want = orders.wanted.get(&channel.source);
            if channel.closing {
                continue;
            }
            match want {
                Some(want) if want.generation == channel.want.generation => {
                    if want.paused && !channel.want.paused {
                        channel.want.paused = true;
                        ask(Ask::Pause { channel: *number });
                    }
                }
                _ => {
                    channel.closing = true;
                    ask(Ask::Close { channel: *number });
                    if let Some(opening) = channel.opening.take() {
                        self.by_opening.remove(&opening);
                        if !orders.is_forgotten(&channel.source, channel.want.generation) {
                            events.extend([BrokerEvent::Closed { opening }]);
                        }
                    }
                }
            }
        }
        self.failing.retain(|source, _| orders.wanted.contains_key(source));
        for (source, want) in &orders.wanted {
            let there = self.all.values().any(|channel| channel.source == *source);
            let rests = self.failing.get(source).is_some_and(|failing| failing.at > now);
            if !there && !rests && !want.paused {
                self.last += 1;
                ask(Ask::Open { channel: self.last, source: source.clone(), window: want.window });
                let (opening, held) = (None, BTreeSet::new());
                let channel =
                    Channel { source: source.clone(), want: *want, opening, since: now, held, closing: false };
                self.all.insert(self.last, channel);
            }
        }
    }

    /// When a source that fails is to be tried again. A paused one is not: its moment would come and pass.
    pub(super) fn retry_at(&self, orders: &Orders) -> Option<Duration> {
        if self.failing.is_empty() {
            return None;
        }
        let is_tried = |source: &Source| {
            orders.wanted.get(source).is_some_and(|want| !want.paused)
                && !self.all.values().any(|channel| channel.source == *source)
        };
        self.failing.iter().filter(|(source, _)| is_tried(source)).map(|(_, failing)| failing.at).min()
    }

    /// Sorts settlements by channel, as frames. What is of a former opening, or settled already, is left out.
    pub(super) fn settle(&mut self, settles: Vec<(Tag, bool)>, ask: &mut impl FnMut(Ask)) {
        let mut by_channel = BTreeMap::<u64, (Vec<u64>, Vec<u64>)>::new();
        for (tag, ack) in settles {
            let Some(number) = self.by_opening.get(&tag.opening) else { continue };
            let channel = self.all.get_mut(number).expect("an opening is a channel's");
            if channel.held.remove(&tag.seq) {
                let (acks, returns) = by_channel.entry(*number).or_default();
                if ack { acks.push(tag.seq) } else { returns.push(tag.seq) }
            }
        }
        for (channel, (acks, returns)) in by_channel {
            ask(Ask::Settle { channel, acks, returns });
        }
    }

    /// A channel's consumer has begun.
    pub(super) fn opened(&mut self, number: u64, opening: Opening) -> Option<BrokerEvent> {
        let channel = self.all.get_mut(&number).filter(|channel| !channel.closing)?;
        channel.opening = Some(opening);
        self.by_opening.insert(opening, number);
        Some(BrokerEvent::Opened { source: channel.source.clone(), opening })
    }

    /// A delivery came. One that comes after a pause is given back, as the production adapter does.
    pub(super) fn delivered(
        &mut self,
        number: u64,
        seq: u64,
        redelivered: bool,
        message: Message,
        ask: &mut impl FnMut(Ask),
    ) -> Option<BrokerEvent> {
        let channel = self.all.get_mut(&number).filter(|channel| !channel.closing)?;
        let opening = channel.opening?;
        if channel.want.paused {
            ask(Ask::Settle { channel: number, acks: Vec::new(), returns: vec![seq] });
            return None;
        }
        channel.held.insert(seq);
        Some(BrokerEvent::Delivered(Delivery { tag: Tag { opening, seq }, redelivered, message }))
    }

    /// A channel is closed, as was asked for.
    pub(super) fn closed(&mut self, number: u64) {
        self.remove(number);
    }

    /// The broker has closed a channel, or cancelled its consumer, which then closes the channel.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        number: u64,
        words: &str,
        orders: &Orders,
        events: &mut impl Extend<BrokerEvent>,
    ) {
        let Some(channel) = self.remove(number).filter(|channel| !channel.closing) else { return };
        let forgotten = orders.is_forgotten(&channel.source, channel.want.generation);
        if let Some(opening) = channel.opening.filter(|_| !forgotten) {
            events.extend([BrokerEvent::Closed { opening }]);
        }
        let before = self.failing.remove(&channel.source);
        let good = channel.opening.is_some() && now >= channel.since + GOOD_AFTER;
        let last = before.as_ref().filter(|_| !good);
        let pause = last.map_or(PAUSES.0, |failing| (failing.pause * 2).min(PAUSES.1));
        let mut told = before.and_then(|failing| failing.told).filter(|_| channel.opening.is_none());
        if channel.opening.is_none() && told.as_deref() != Some(words) && !forgotten {
            told = Some(words.to_owned());
            events.extend([BrokerEvent::SourceFailed { source: channel.source.clone(), detail: words.to_owned() }]);
        }
        self.failing.insert(channel.source, Failing { at: now + pause, pause, told });
    }

    /// The session is lost: tells of what was open.
    pub(super) fn abandon(&mut self, orders: &Orders, events: &mut impl Extend<BrokerEvent>) {
        for channel in std::mem::take(&mut self.all).into_values() {
            if let Some(opening) = channel.opening
                && !orders.is_forgotten(&channel.source, channel.want.generation)
            {
                events.extend([BrokerEvent::Closed { opening }]);
            }
        }
        self.by_opening.clear();
    }

    fn remove(&mut self, number: u64) -> Option<Channel> {
        let channel = self.all.remove(&number)?;
        if let Some(opening) = channel.opening {
            self.by_opening.remove(&opening);
        }
        Some(channel)
    }
}

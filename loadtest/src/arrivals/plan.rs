//! The plan as an iterator of intended times, each with what is to be sent then. It is pure: same text, same seed, same
//! plan. Closed phases are the exception that the caller must ask for, with the moment at which a task has ended.

use super::{Arrivals, Mix, Pace, mix};
use crate::draw::Draw;
use std::time::Duration;

/// One task that is to be added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Counted from 0: the task's number, from which all of its fate is drawn.
    pub index: u64,
    /// From the start of the plan.
    pub at: Duration,
    /// Index into the plan's phases.
    pub phase: u16,
    /// Index into the mix.
    pub class: u8,
    /// Bytes of the body.
    pub size: u32,
    /// Time to live.
    pub ttl: Option<Duration>,
    /// How long it must wait at least.
    pub delay: Option<Duration>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    /// A task at its time.
    Open(Arrival),
    /// A closed phase: as many tasks as `clients` are to be under way from `from` until `until`. Each is made by
    /// [`Plan::extra`]; after that, ask for the next turn.
    Closed {
        /// Index into the plan's phases.
        phase: u16,
        /// Tasks under way at a time.
        clients: u32,
        /// From the start of the plan.
        from: Duration,
        /// From the start of the plan.
        until: Duration,
    },
}

/// A plan on its way.
#[derive(Debug, Clone)]
pub struct Plan {
    arrivals: Arrivals,
    mix: Mix,
    draw: Draw,
    index: u64,
    phase: usize,
    /// The start of the phase.
    start: Duration,
    /// Within the phase, by its pace: tasks of a burst, rows of a replay.
    done: u64,
    /// The number of tasks by rate until the start of this phase, parts included, so that phases add up.
    before: f64,
    /// The number of tasks by rate at which the next one comes.
    next: f64,
    /// Draws of gaps made so far.
    gaps: u64,
}

impl Plan {
    /// From its beginning.
    pub fn new(arrivals: Arrivals, mix: Mix, seed: u64) -> Self {
        let draw = Draw::new(seed).of("arrivals");
        let mut plan = Self {
            arrivals,
            mix,
            draw,
            index: 0,
            phase: 0,
            start: Duration::ZERO,
            done: 0,
            before: 0.0,
            next: 0.0,
            gaps: 0,
        };
        plan.enter();
        plan
    }

    /// What is to come next; `None` at the end.
    pub fn turn(&mut self) -> Option<Turn> {
        loop {
            let phase = self.arrivals.phases.get(self.phase)?;
            let number = u16::try_from(self.phase).expect("at most 1000 phases");
            let until = self.start + phase.length;
            match &phase.pace {
                Pace::Closed { clients } => {
                    let turn = Turn::Closed { phase: number, clients: *clients, from: self.start, until };
                    self.leave();
                    return Some(turn);
                }
                Pace::Burst(n) if self.done < *n => {
                    self.done += 1;
                    return Some(Turn::Open(self.make(self.start, None)));
                }
                Pace::Replay(rows) if self.done < rows.len() as u64 => {
                    let row = rows[usize::try_from(self.done).expect("it is below a length")].clone();
                    self.done += 1;
                    return Some(Turn::Open(self.make(self.start + row.at, Some(&row))));
                }
                Pace::Burst(_) | Pace::Replay(_) => self.leave(),
                Pace::Rate { curve, random } => {
                    let (curve, random) = (*curve, *random);
                    let length = phase.length.as_secs_f64();
                    match curve.when(self.next - self.before, length) {
                        Some(at) => {
                            self.next += if random { self.gap() } else { 1.0 };
                            // Rounded down: a task lies within its phase.
                            return Some(Turn::Open(
                                self.make(self.start + Duration::from_nanos((at * 1e9) as u64), None),
                            ));
                        }
                        None => {
                            self.before += curve.until(length, length);
                            self.leave();
                        }
                    }
                }
            }
        }
    }

    /// Another task of a closed phase.
    pub fn extra(&mut self, phase: u16, at: Duration) -> Arrival {
        Arrival { phase, ..self.make(at, None) }
    }

    /// Tasks made so far: the number of the next one.
    pub fn made(&self) -> u64 {
        self.index
    }

    /// The mix.
    pub fn mix(&self) -> &Mix {
        &self.mix
    }

    /// The phases.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn make(&mut self, at: Duration, row: Option<&super::Row>) -> Arrival {
        let draw = self.draw.at(self.index);
        let class = self.mix.pick(draw.of("class"), row);
        let kind = &self.mix.classes()[usize::from(class)];
        let seconds =
            |dist: &crate::dist::Dist, purpose| Duration::from_secs_f64(dist.sample(draw.of(purpose)).clamp(0.0, 3e7));
        let arrival = Arrival {
            index: self.index,
            at,
            phase: u16::try_from(self.phase).expect("at most 1000 phases"),
            class,
            size: row.and_then(|row| row.size).unwrap_or_else(|| mix::size_of(kind, draw.of("size"))),
            ttl: kind.ttl.as_ref().map(|dist| seconds(dist, "ttl")),
            delay: kind.delay.as_ref().map(|dist| seconds(dist, "delay")),
        };
        self.index += 1;
        arrival
    }

    /// An exponential gap of mean 1: what makes a Poisson process of any rate, once it is laid along the curve.
    fn gap(&mut self) -> f64 {
        self.gaps += 1;
        -(1.0 - self.draw.of("gap").at(self.gaps).unit()).ln()
    }

    fn leave(&mut self) {
        self.start += self.arrivals.phases[self.phase].length;
        self.phase += 1;
        self.done = 0;
        self.enter();
    }

    /// A random phase begins with a gap, unless one is under way from the random phase before.
    fn enter(&mut self) {
        let random =
            |phase: Option<&super::Phase>| matches!(phase.map(|p| &p.pace), Some(Pace::Rate { random: true, .. }));
        let before = self.phase.checked_sub(1).and_then(|i| self.arrivals.phases.get(i));
        let continues = random(before);
        if random(self.arrivals.phases.get(self.phase)) && !continues {
            self.next = self.before + self.gap();
        }
    }
}

/// The open part: closed phases are passed over.
impl Iterator for Plan {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Turn::Open(arrival) = self.turn()? {
                return Some(arrival);
            }
        }
    }
}

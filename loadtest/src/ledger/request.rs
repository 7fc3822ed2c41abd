//! What the executors write into the book: each request as it comes, judged by what its task's record says, and each answer.

use super::{
    Book, Counts, Extra, ExtraKind, Rules, Tick,
    book::Pages,
    record::{Record, flag},
};
use crate::{
    clock::Moment,
    figures::{Figures, Kind},
    fleet::{Answered, Seen, Witness},
};
use std::time::Duration;

/// Requests too many that are kept with their times: 40 MB. What comes beyond is counted, and explained by nothing.
const EXTRAS_MAX: usize = 1_000_000;

impl Witness for Book {
    fn arrived(&self, seen: Seen<'_>) -> Option<u64> {
        let now = self.clock().now();
        let number = self.number(seen.task);
        let mut pages = self.pages();
        let pages = &mut *pages;
        pages.counts.attempts += 1;
        let found = number.and_then(|n| Some((n, pages.records.get_mut(n)?)));
        let Some((number, record)) = found else {
            pages.counts.unknown += 1;
            return None;
        };
        let before = *record;
        judge(self.rules(), &mut pages.counts, record, &seen, now);
        let extra = too_many(&before, seen.attempt);
        record.extras = record.extras.saturating_add(u8::from(extra.is_some()));
        record.attempt = record.attempt.max(u8::try_from(seen.attempt).unwrap_or(u8::MAX));
        if !before.first.is_some() {
            record.first = Tick::at(now.run);
        }
        if let Some(kind) = extra {
            pages.extra(Extra { task: number, at: now.run, since: origin(&before, seen.attempt), kind });
        }
        let queue = self.queue_of(&before);
        if !before.first.is_some() {
            pages.first(self.rules(), before, queue, now);
        }
        pages.counts.under_way += 1;
        pages.lanes.of(queue).begins();
        pages.figures.second(now.run).attempts += 1;
        if let (2.., Some(due_ms)) = (seen.attempt, seen.due_ms) {
            let lag = now.wall.saturating_sub(self.clock().wall_of(due_ms));
            pages.figures.record(Kind::RetryLag, before, queue, lag);
        }
        Some(number)
    }

    fn answered(&self, number: u64, attempt: u32, took: Duration, how: Answered) {
        let now = self.clock().now();
        let mut pages = self.pages();
        let pages = &mut *pages;
        let record = pages.records.get_mut(number).expect("it has arrived before");
        let queue = self.queue_of(record);
        record.last = Tick::at(now.run);
        pages.counts.under_way -= 1;
        pages.lanes.of(queue).ends();
        let over = if matches!(how, Answered::Status(status, _) if status.is_success()) {
            let over = !record.succeeded();
            record.set(flag::SUCCEEDED);
            let record = *record;
            pages.success(record, queue, now, over);
            over
        } else {
            postpone(self.rules(), record, now, how);
            pages.counts.failures += 1;
            pages.counts.abandoned += u64::from(how == Answered::Abandoned);
            pages.figures.second(now.run).failed += 1;
            is_last(self.rules(), attempt, how)
        };
        let record = *pages.records.get_mut(number).expect("it is there still");
        pages.figures.record(Kind::Attempt, record, queue, took);
        if over {
            self.make_room(pages, number);
        }
    }
}

impl Pages {
    /// A request too many.
    fn extra(&mut self, extra: Extra) {
        match extra.kind {
            ExtraKind::Duplicate => self.counts.duplicates += 1,
            ExtraKind::Repeat => self.counts.repeats += 1,
        }
        if self.extras.len() < EXTRAS_MAX {
            self.extras.push(extra);
        }
    }

    /// A task is seen for the first time.
    fn first(&mut self, rules: &Rules, before: Record, queue: usize, now: Moment) {
        self.counts.executed += 1;
        if before.confirmed.is_some() && !before.has(flag::DELAYED) {
            self.lanes.of(queue).waits_no_more();
        }
        self.counts.inversions += u64::from(self.lanes.pass_over(rules, queue, now.run));
        first_seen(&mut self.figures, before, queue, now);
    }

    /// A request has succeeded, and whether that is its task's end: a duplicate comes after it.
    fn success(&mut self, record: Record, queue: usize, now: Moment, ends: bool) {
        self.counts.successes += 1;
        self.figures.second(now.run).succeeded += 1;
        if ends {
            self.counts.succeeded += 1;
            self.counts.open -= u64::from(record.confirmed.is_some());
            self.figures.done(record, queue, now.run, record.has(flag::DELAYED));
        }
    }
}

/// A request has failed: the next may not come before this.
fn postpone(rules: &Rules, record: &mut Record, now: Moment, how: Answered) {
    let wait = match how {
        Answered::Status(_, Some(asked)) => rules.backoff_min.max(asked.min(rules.retry_after_max)),
        _ => rules.backoff_min,
    };
    let due = (now.wall + wait).saturating_sub(rules.early_grace);
    // After a fault two copies of a task may be on their way, each with its own backoff: the earlier one may go.
    let other = record.due.get().filter(|_| record.extras > 0);
    record.due = Tick::at(other.map_or(due, |other| other.min(due)));
}

/// Whether no other attempt comes after this one, which failed.
fn is_last(rules: &Rules, attempt: u32, how: Answered) -> bool {
    let last = rules.max_attempts.is_some_and(|max| attempt >= max);
    let for_good = matches!(how, Answered::Status(status, _) if rules.permanent.contains(&status.as_u16()));
    last || for_good
}

/// Whether a request comes at a time at which it may.
fn judge(rules: &Rules, counts: &mut Counts, record: &mut Record, seen: &Seen<'_>, now: Moment) {
    // The backoff comes before the next attempt. One that is made again (after a fault) had its moment before, and after a
    // success only duplicates come; both are counted as what they are.
    let again = record.first.is_some() && seen.attempt <= u32::from(record.attempt);
    if let Some(due) = record.due.get().filter(|_| !record.succeeded() && !again)
        && now.wall < due
    {
        record.set(flag::EARLY);
        counts.early += 1;
        let by = u64::try_from((due - now.wall).as_micros()).unwrap_or(u64::MAX);
        counts.early_us_max = counts.early_us_max.max(by);
    }
    if let Some(expires) = record.expires.get()
        && now.wall >= expires
    {
        if now.wall - expires < rules.late_grace {
            counts.late_within_grace += 1;
        } else {
            record.set(flag::LATE);
            counts.late += 1;
        }
    }
    if rules.max_attempts.is_some_and(|max| seen.attempt > max) {
        record.set(flag::OVER);
        counts.over_attempts += 1;
    }
}

/// Whether the requests before account for this one.
fn too_many(before: &Record, attempt: u32) -> Option<ExtraKind> {
    if before.succeeded() {
        return Some(ExtraKind::Duplicate);
    }
    (attempt <= u32::from(before.attempt) && before.attempt < u8::MAX).then_some(ExtraKind::Repeat)
}

/// From when on a fault explains a request too many. All copies of a retried or delayed task descend from one that was
/// moved since it was published, and a fault during a move may leave a second copy.
fn origin(before: &Record, attempt: u32) -> Duration {
    let moved = attempt > 1 || before.has(flag::DELAYED);
    let tick = if moved { before.published } else { before.first };
    tick.get().unwrap_or_default()
}

/// The waits that end with the first attempt.
fn first_seen(figures: &mut Figures, record: Record, queue: usize, now: Moment) {
    if record.has(flag::DELAYED) {
        let lag = now.wall.saturating_sub(record.due.get().unwrap_or_default());
        figures.record(Kind::ScheduleLag, record, queue, lag);
        return;
    }
    let since = |tick: Tick| now.run.saturating_sub(tick.get().unwrap_or_default());
    figures.wait(record, queue, now.run, since(record.intended));
    figures.record(Kind::WaitUncorrected, record, queue, since(record.published));
}

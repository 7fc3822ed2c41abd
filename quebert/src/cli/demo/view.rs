//! The demo's one screen, as text: lanes, executors, what happens, where to look closer. Pure: it gets what there is and
//! the size of the terminal, and draws nothing itself.

use super::teller::{News, Tone, spoken};
use crate::api::types::{QueueView, Recent};
use std::{fmt::Write as _, time::Duration};

/// What is shown.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) elapsed: Duration,
    /// Where the console is.
    pub(super) address: String,
    pub(super) draining: bool,
    /// Highest priority first.
    pub(super) lanes: Vec<QueueView>,
    pub(super) executors: Vec<ExecutorRow>,
    /// Newest last.
    pub(super) news: Vec<News>,
    pub(super) enqueued: u64,
}

/// An executor at a glance.
#[derive(Debug, Default)]
pub(super) struct ExecutorRow {
    pub(super) name: &'static str,
    /// What is special about it.
    pub(super) manner: &'static str,
    pub(super) up: bool,
    pub(super) in_flight: u32,
    pub(super) attempts: u64,
    pub(super) failed: u64,
    pub(super) recent: Recent,
}

/// The terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Plain,
    Dim,
    Strong,
    Good,
    Trouble,
    Bad,
}

impl Look {
    /// The parameter of SGR (ECMA-48, 8.3.117).
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Dim => "2",
            Self::Strong => "1",
            Self::Good => "32",
            Self::Trouble => "33",
            Self::Bad => "31",
        }
    }
}

/// A line in pieces.
#[derive(Debug, Default)]
struct Line(Vec<(Look, String)>);

impl Line {
    fn of(look: Look, text: impl Into<String>) -> Self {
        Self(vec![(look, text.into())])
    }

    fn and(mut self, look: Look, text: impl Into<String>) -> Self {
        self.0.push((look, text.into()));
        self
    }

    /// Cut off at the edge, so that the terminal wraps nothing.
    fn write(&self, columns: usize, color: bool, out: &mut String) {
        let mut room = columns;
        for (look, text) in &self.0 {
            let cut: String = text.chars().take(room).collect();
            room -= cut.chars().count();
            if color && *look != Look::Plain {
                let _ = write!(out, "\x1b[{}m{cut}\x1b[0m", look.sgr());
            } else {
                out.push_str(&cut);
            }
        }
    }
}

/// The screen's lines, each at most as wide, and together at most as high, as the terminal.
pub(super) fn lines(picture: &Picture, size: Size, color: bool) -> Vec<String> {
    let mut all = head(picture);
    all.extend(lanes(&picture.lanes));
    all.push(Line::default());
    all.extend(executors(&picture.executors));
    all.push(Line::default());
    let foot = foot(picture);
    let room = size.rows.saturating_sub(all.len() + foot.len());
    all.extend(news(&picture.news, room));
    all.extend(foot);
    all.truncate(size.rows);
    let text = |line: &Line| {
        let mut text = String::new();
        line.write(size.columns, color, &mut text);
        text
    };
    all.iter().map(text).collect()
}

fn head(picture: &Picture) -> Vec<Line> {
    let seconds = picture.elapsed.as_secs();
    let clock = format!("  {:02}:{:02}   ", seconds / 60, seconds % 60);
    let state = if picture.draining { "ending: what is under way may finish" } else { "Ctrl-C ends it" };
    vec![
        Line::of(Look::Strong, " quebert demo")
            .and(Look::Plain, clock)
            .and(Look::Plain, "look closer: ")
            .and(Look::Strong, &*picture.address)
            .and(Look::Dim, format!("   {state}")),
        Line::of(Look::Dim, " Tasks wait on disk, in lanes by priority. Each is an HTTP request to an executor;"),
        Line::of(Look::Dim, " what fails is tried again later, and given up into the dead letters in the end."),
        Line::default(),
    ]
}

fn lanes(lanes: &[QueueView]) -> Vec<Line> {
    let head = " LANE      READY  IN FLIGHT  DELAYED  DEAD  DONE/S       P50       P99  LAST 30 S";
    let row = |lane: &QueueView| {
        let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let dead = lane.dead.unwrap_or(0);
        let name = if lane.paused { "paused".to_owned() } else { lane.name.clone() };
        let look = if lane.paused { Look::Trouble } else { Look::Strong };
        let busy = format!("{}/{}", lane.in_flight, lane.limits.slots_max);
        let recent = &lane.recent;
        Line::of(look, format!(" {name:<8}"))
            .and(Look::Plain, format!(" {:>6}  {busy:>9}  {:>7}  ", count(lane.ready), count(lane.delayed)))
            .and(if dead > 0 { Look::Bad } else { Look::Plain }, format!("{:>4}", count(lane.dead)))
            .and(Look::Plain, format!("  {:>6.1}", recent.succeeded_per_s))
            .and(Look::Plain, format!("  {:>8}  {:>8}  ", millis(recent.attempt_p50_ms), millis(recent.attempt_p99_ms)))
            .and(Look::Good, sparkline(&recent.succeeded_by_s, 30))
    };
    std::iter::once(Line::of(Look::Dim, head)).chain(lanes.iter().map(row)).collect()
}

fn executors(executors: &[ExecutorRow]) -> Vec<Line> {
    let head = " EXECUTOR  STATE  IN FLIGHT  REQUESTS  FAILED       P50       P99  WHAT IT IS LIKE";
    let row = |executor: &ExecutorRow| {
        let (state, look) = if executor.up { ("up", Look::Good) } else { ("DOWN", Look::Bad) };
        let failed = if executor.failed > 0 { Look::Trouble } else { Look::Plain };
        let recent = &executor.recent;
        Line::of(Look::Strong, format!(" {:<8}", executor.name))
            .and(look, format!("  {state:<5}"))
            .and(Look::Plain, format!("  {:>9}  {:>8}  ", executor.in_flight, executor.attempts))
            .and(failed, format!("{:>6}", executor.failed))
            .and(Look::Plain, format!("  {:>8}  {:>8}  ", millis(recent.attempt_p50_ms), millis(recent.attempt_p99_ms)))
            .and(Look::Dim, executor.manner)
    };
    std::iter::once(Line::of(Look::Dim, head)).chain(executors.iter().map(row)).collect()
}

/// The last ones that there is room for.
fn news(news: &[News], room: usize) -> Vec<Line> {
    let Some(room) = room.checked_sub(1) else { return Vec::new() };
    let line = |news: &News| {
        let look = match news.tone {
            Tone::Good => Look::Good,
            Tone::Trouble => Look::Trouble,
            Tone::Bad => Look::Bad,
        };
        let News { at, lane, whom, attempt, fate, .. } = news;
        Line::of(Look::Dim, format!(" {:>6.1}s  ", at.as_secs_f64()))
            .and(Look::Plain, format!("{lane:<6}  {whom:<14}  {attempt:<31}  "))
            .and(look, &**fate)
    };
    let title = Line::of(Look::Dim, " WHAT HAPPENS (tasks that are done at once are not listed)");
    let last = &news[news.len().saturating_sub(room)..];
    let blank = (last.len()..room).map(|_| Line::default());
    std::iter::once(title).chain(last.iter().map(line)).chain(blank).collect()
}

fn foot(picture: &Picture) -> Vec<Line> {
    let sum = |key: &str| picture.lanes.iter().filter_map(|lane| lane.settled.get(key)).sum::<u64>();
    let dead = picture.lanes.iter().filter_map(|lane| lane.dead).sum::<u64>();
    let text = format!(
        " {} enqueued so far: {} done, {} expired, {dead} dead; {} attempts tried again",
        picture.enqueued,
        sum("succeeded"),
        sum("expired"),
        sum("retried")
    );
    vec![Line::of(Look::Plain, text)]
}

fn millis(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| spoken(Duration::from_secs_f64(ms.max(0.0) / 1000.0)))
}

/// The last `width` values as bars, the highest one full.
fn sparkline(values: &[u32], width: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &values[values.len().saturating_sub(width)..];
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    // Rounded up, so that a single task shows.
    last.iter().map(|n| BARS[(n * 8).div_ceil(most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::QueueLimits;
    use insta::assert_snapshot;

    fn lane(name: &str) -> QueueView {
        QueueView {
            name: name.to_owned(),
            broker_queue: format!("quebert.{name}"),
            priority: 2,
            paused: name == "low",
            pause_scope: "broker".to_owned(),
            open: true,
            ready: Some(41),
            unsettled: Some(3),
            delayed: None,
            dead: Some(2),
            ready_bytes: None,
            oldest_age_ms: None,
            consumers: Some(1),
            in_flight: 3,
            buffered: 0,
            limits: QueueLimits {
                slots_max: 4,
                slots_own: 0,
                window: 7,
                max_attempts: Some(6),
                attempt_timeout_ms: 30_000,
                ttl_default_ms: None,
                messages_max: None,
            },
            recent: Recent {
                succeeded_per_s: 5.25,
                attempt_p50_ms: Some(12.4),
                attempt_p99_ms: Some(1234.0),
                succeeded_by_s: vec![0, 1, 4, 8],
                ..Recent::default()
            },
            settled: [("succeeded".to_owned(), 100), ("retried".to_owned(), 7)].into(),
            delivered: 110,
        }
    }

    fn picture() -> Picture {
        let news = |n: u32| News {
            at: Duration::from_millis(u64::from(n) * 1100),
            lane: "high".to_owned(),
            whom: format!("payment-000{n}"),
            attempt: "attempt 1: 503 in 4 ms".to_owned(),
            fate: "again in 500 ms".to_owned(),
            tone: Tone::Trouble,
        };
        Picture {
            elapsed: Duration::from_secs(83),
            address: "http://127.0.0.1:9460/".to_owned(),
            draining: false,
            lanes: vec![lane("high"), lane("low")],
            executors: vec![
                ExecutorRow { name: "fast", manner: "milliseconds", up: true, attempts: 12, ..ExecutorRow::default() },
                ExecutorRow { name: "unsteady", manner: "goes down", failed: 3, ..ExecutorRow::default() },
            ],
            news: (1..=9).map(news).collect(),
            enqueued: 321,
        }
    }

    #[test]
    fn everything_fits_on_one_screen() {
        let lines = lines(&picture(), Size { columns: 100, rows: 17 }, false);
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        assert_snapshot!(lines.join("\n"), @"");
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (columns, rows) in [(0, 0), (1, 1), (20, 5), (80, 24), (300, 100)] {
            for color in [false, true] {
                let lines = lines(&picture(), Size { columns, rows }, color);
                assert!(lines.len() <= rows, "{} lines on {rows}", lines.len());
                if !color {
                    assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:?} in {columns}");
                }
            }
        }
    }
}

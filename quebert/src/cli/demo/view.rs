//! The demo's one screen, as text: lanes, executors, what happens, where to look closer. Pure: it gets what there is and
//! the size of the terminal, and draws nothing itself.

use super::teller::{News, Tone, spoken};
use crate::api::{board::LaneFigures, types::Recent};
use quebert_broker_adapter::admin::PlaceStatus;
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// What is shown.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) elapsed: Duration,
    /// Where the console is.
    pub(super) address: String,
    pub(super) draining: bool,
    /// Highest priority first.
    pub(super) lanes: Vec<LaneRow>,
    pub(super) executors: Vec<ExecutorRow>,
    /// Newest last.
    pub(super) news: Vec<News>,
    pub(super) enqueued: u64,
}

/// A lane at a glance.
#[derive(Debug)]
pub(super) struct LaneRow {
    pub(super) name: Arc<str>,
    pub(super) slots_max: u32,
    /// As the broker says; `None` if it can't tell now.
    pub(super) queue: Option<PlaceStatus>,
    /// Dead letters, as the broker says.
    pub(super) dead: Option<u64>,
    /// As the dispatcher says.
    pub(super) figures: LaneFigures,
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
pub(in super::super) struct Size {
    pub(in super::super) columns: usize,
    pub(in super::super) rows: usize,
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
    all.extend(lanes(&picture.lanes, size.columns));
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
    let state = if picture.draining { "ending" } else { "Ctrl-C ends it" };
    vec![
        Line::of(Look::Strong, " quebert demo")
            .and(Look::Plain, clock)
            .and(Look::Plain, "web console: ")
            .and(Look::Strong, &*picture.address)
            .and(Look::Dim, format!("   {state}")),
        Line::of(Look::Dim, " Tasks wait on disk, in lanes by priority; each is a request to an executor."),
        Line::of(Look::Dim, " What fails is tried again later, and ends among the dead letters if it must."),
        Line::default(),
    ]
}

/// Columns of a lane's row before its last one.
const LANE_COLUMNS: usize = 70;

fn lanes(lanes: &[LaneRow], columns: usize) -> Vec<Line> {
    let bars = columns.saturating_sub(LANE_COLUMNS).min(60);
    let head = " LANE      READY  IN FLIGHT  DELAYED  DEAD  DONE/S      P50      P99  DONE";
    let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let row = |lane: &LaneRow| {
        let (figures, recent) = (&lane.figures, &lane.figures.recent);
        let look = if figures.paused { Look::Trouble } else { Look::Strong };
        let ready = count(lane.queue.map(|queue| queue.ready));
        let delayed = count(lane.queue.and_then(|queue| queue.delayed));
        let busy = format!("{}/{}", figures.in_flight, lane.slots_max);
        let after = if figures.paused { "paused".to_owned() } else { sparkline(&recent.succeeded_by_s, bars) };
        Line::of(look, format!(" {:<8}", lane.name))
            .and(Look::Plain, format!(" {ready:>6}  {busy:>9}  {delayed:>7}  "))
            .and(if lane.dead > Some(0) { Look::Bad } else { Look::Plain }, format!("{:>4}", count(lane.dead)))
            .and(Look::Plain, format!("  {:>6.1}", recent.succeeded_per_s))
            .and(Look::Plain, format!("  {:>7}  {:>7}  ", millis(recent.attempt_p50_ms), millis(recent.attempt_p99_ms)))
            .and(if figures.paused { Look::Trouble } else { Look::Good }, after)
    };
    std::iter::once(Line::of(Look::Dim, head)).chain(lanes.iter().map(row)).collect()
}

fn executors(executors: &[ExecutorRow]) -> Vec<Line> {
    let head = " EXECUTOR  STATE  IN FLIGHT  REQUESTS  FAILED      P50      P99  WHAT IT DOES";
    let row = |executor: &ExecutorRow| {
        let (state, look) = if executor.up { ("up", Look::Good) } else { ("DOWN", Look::Bad) };
        let failed = if executor.failed > 0 { Look::Trouble } else { Look::Plain };
        let recent = &executor.recent;
        Line::of(Look::Strong, format!(" {:<8}", executor.name))
            .and(look, format!("  {state:<5}"))
            .and(Look::Plain, format!("  {:>9}  {:>8}  ", executor.in_flight, executor.attempts))
            .and(failed, format!("{:>6}", executor.failed))
            .and(Look::Plain, format!("  {:>7}  {:>7}  ", millis(recent.attempt_p50_ms), millis(recent.attempt_p99_ms)))
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
        Line::of(Look::Dim, format!("{:>5.1}s ", at.as_secs_f64()))
            .and(Look::Plain, format!("{lane:<6}  {whom:<13}  {attempt:<27}  "))
            .and(look, &**fate)
    };
    let title = Line::of(Look::Dim, " WHAT HAPPENS, but for tasks that are done at once");
    let last = &news[news.len().saturating_sub(room)..];
    let blank = (last.len()..room).map(|_| Line::default());
    std::iter::once(title).chain(last.iter().map(line)).chain(blank).collect()
}

fn foot(picture: &Picture) -> Vec<Line> {
    let sum = |key: &str| picture.lanes.iter().filter_map(|lane| lane.figures.settled.get(key)).sum::<u64>();
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
    use insta::assert_snapshot;

    fn lane(name: &str) -> LaneRow {
        LaneRow {
            name: name.into(),
            slots_max: 4,
            queue: Some(PlaceStatus { ready: 41, ..PlaceStatus::default() }),
            dead: Some(2),
            figures: LaneFigures {
                paused: name == "low",
                in_flight: 3,
                settled: [("succeeded".to_owned(), 100), ("retried".to_owned(), 7)].into(),
                recent: Recent {
                    succeeded_per_s: 5.25,
                    attempt_p50_ms: Some(12.4),
                    attempt_p99_ms: Some(1234.0),
                    succeeded_by_s: vec![0, 1, 4, 8],
                    ..Recent::default()
                },
                ..LaneFigures::default()
            },
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
        assert_snapshot!(lines.join("\n"), @r"
         quebert demo  01:23   web console: http://127.0.0.1:9460/   Ctrl-C ends it
         Tasks wait on disk, in lanes by priority; each is a request to an executor.
         What fails is tried again later, and ends among the dead letters if it must.

         LANE      READY  IN FLIGHT  DELAYED  DEAD  DONE/S      P50      P99  DONE
         high         41        3/4        -     2     5.2    12 ms    1.2 s   ▁▄█
         low          41        3/4        -     2     5.2    12 ms    1.2 s  paused

         EXECUTOR  STATE  IN FLIGHT  REQUESTS  FAILED      P50      P99  WHAT IT DOES
         fast      up             0        12       0        -        -  milliseconds
         unsteady  DOWN           0         0       3        -        -  goes down

         WHAT HAPPENS, but for tasks that are done at once
          7.7s high    payment-0007   attempt 1: 503 in 4 ms       again in 500 ms
          8.8s high    payment-0008   attempt 1: 503 in 4 ms       again in 500 ms
          9.9s high    payment-0009   attempt 1: 503 in 4 ms       again in 500 ms
         321 enqueued so far: 200 done, 0 expired, 4 dead; 14 attempts tried again
        ");
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

//! What is shown while a run goes on: on a terminal one picture that is drawn over again, elsewhere a line a second. The picture
//! is a pure function of what was seen; what comes of the run stands in the report.

use super::out;
use crate::{
    figures::Summary,
    quantity::Span,
    run::{Config, Live},
};
use std::{collections::VecDeque, io::IsTerminal as _, time::Duration};

/// Seconds that a sparkline shows at most.
const SPARKS_MAX: usize = 240;
/// Eighths of a line's height.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A narrower terminal gets lines.
const WIDTH_MIN: usize = 50;
/// Before the figures of each line.
const LABEL: usize = 9;

/// Tells people how a run goes on.
#[derive(Debug)]
pub(super) enum Teller {
    /// Nothing is told.
    Quiet,
    /// A line a second.
    Lines,
    /// A picture, and how many lines of it stand on the terminal.
    Picture(Box<View>, usize),
}

impl Teller {
    pub(super) fn new(config: &Config, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Self::Quiet,
            (false, false) => Self::Lines,
            (false, true) => Self::Picture(Box::new(View::new(config)), 0),
        }
    }

    pub(super) fn tell(&mut self, live: &Live) {
        match self {
            Self::Quiet => {}
            Self::Lines => out::tell(&line(live)),
            Self::Picture(view, drawn) => {
                view.see(live);
                let size = terminal_size::terminal_size_of(std::io::stderr());
                let (width, height) = size.map_or((80, 24), |(width, height)| (width.0.into(), height.0.into()));
                let frame = view.frame(width);
                if width < WIDTH_MIN || frame.len() >= height {
                    // What can't be drawn over would pile up.
                    *drawn = 0;
                    return out::tell(&line(live));
                }
                // Set by people who want no colours in any program.
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                out::draw(&redraw(&frame, *drawn, !plain));
                *drawn = frame.len();
            }
        }
    }
}

/// All that the picture is made of.
#[derive(Debug)]
pub(super) struct View {
    plan: Duration,
    phases: Vec<String>,
    closed: bool,
    last: Option<Live>,
    /// Tasks a second: offered, done; and ready ones.
    seconds: VecDeque<[f64; 3]>,
}

/// A line of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    text: String,
    /// Whether something is wrong that should be seen.
    alarm: bool,
}

impl View {
    fn new(config: &Config) -> Self {
        Self {
            plan: config.arrivals.length(),
            phases: config.arrivals.phases.iter().map(|phase| phase.name.clone()).collect(),
            closed: config.arrivals.is_closed(),
            last: None,
            seconds: VecDeque::new(),
        }
    }

    fn see(&mut self, live: &Live) {
        let rate = |n: u64| n as f64 / live.seconds;
        if self.seconds.len() == SPARKS_MAX {
            self.seconds.pop_front();
        }
        let ready = live.ready.unwrap_or(0) as f64;
        self.seconds.push_back([rate(live.since.offered), rate(live.since.succeeded), ready]);
        self.last = Some(live.clone());
    }

    /// The picture, each line of at most `width` places. It always has the same number of lines.
    fn frame(&self, width: usize) -> Vec<Row> {
        let Some(live) = &self.last else { return Vec::new() };
        let rate = |n: u64| format!("{:.0}/s", n as f64 / live.seconds);
        let (since, counts) = (&live.since, &live.counts);
        let known = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
        let wrong =
            counts.duplicates + counts.repeats + counts.early + counts.late + counts.over_attempts + counts.unknown;
        let rows = [
            ("time", self.progress(live, width), false),
            ("phase", self.phase(live), false),
            (
                "rates",
                format!(
                    "offered {:<9} accepted {:<9} attempts {:<9} done {:<9} failed {}",
                    rate(since.offered),
                    rate(since.confirmed),
                    rate(since.attempts),
                    rate(since.succeeded),
                    rate(since.failures)
                ),
                false,
            ),
            ("offered", self.sparks(0, "/s", width), false),
            ("done", self.sparks(1, "/s", width), false),
            ("wait", waits(&live.wait), false),
            (
                "backlog",
                format!(
                    "ready {:<9} held {:<7} under way {:<6} open {}",
                    known(live.ready),
                    known(live.held),
                    counts.under_way,
                    counts.open
                ),
                false,
            ),
            ("ready", self.sparks(2, "", width), false),
            (
                "verdict",
                format!(
                    "duplicates {}  repeats {}  early {}  late {}  over attempts {}  unknown {}  unconfirmed {}",
                    counts.duplicates,
                    counts.repeats,
                    counts.early,
                    counts.late,
                    counts.over_attempts,
                    counts.unknown,
                    counts.unconfirmed
                ),
                wrong > 0,
            ),
            ("tester", format!("late by {} at the 99th percentile", Span(live.start_lag)), false),
        ];
        let row = |(label, text, alarm): (&str, String, bool)| Row {
            text: clipped(&format!("{label:<LABEL$}{text}"), width),
            alarm,
        };
        rows.map(row).into()
    }

    /// How much of the plan is over, and what is left.
    fn progress(&self, live: &Live, width: usize) -> String {
        let seconds = |span: Duration| {
            let s = span.as_secs();
            if s < 120 { format!("{s} s") } else { format!("{}:{:02} min", s / 60, s % 60) }
        };
        let share = (live.at.as_secs_f64() / self.plan.as_secs_f64().max(1e-9)).min(1.0);
        // What is over and what is left are whole seconds, and together the plan.
        let left = self.plan.saturating_sub(Duration::from_secs(live.at.as_secs()));
        let told = if live.at >= self.plan {
            format!("{}, the plan is over, {} open", seconds(live.at), live.counts.open)
        } else {
            format!("{} of {}, {} left", seconds(live.at), seconds(self.plan), seconds(left))
        };
        let room = width.saturating_sub(LABEL + told.chars().count() + 2).min(40);
        let full = (share * room as f64).round() as usize;
        format!("{}{}  {told}", "█".repeat(full), "·".repeat(room - full))
    }

    fn phase(&self, live: &Live) -> String {
        let closed = if self.closed { "; closed: latency excludes waiting of the client" } else { "" };
        if live.phase.is_empty() {
            return format!("settling{closed}");
        }
        let n = self.phases.iter().position(|name| *name == live.phase).map_or(0, |n| n + 1);
        let same = self.phases.iter().filter(|name| **name == live.phase).count();
        // Of two phases with one name, which it is can't be told by that.
        let which = if same == 1 { format!(" ({n} of {})", self.phases.len()) } else { String::new() };
        format!("{}{which}{closed}", live.phase)
    }

    /// The last seconds as a line, and what its full height is. A second without anything is a gap.
    fn sparks(&self, of: usize, unit: &str, width: usize) -> String {
        let room = width.saturating_sub(LABEL + 16);
        let values = self.seconds.iter().skip(self.seconds.len().saturating_sub(room)).map(|second| second[of]);
        let most = values.clone().fold(0.0, f64::max);
        let spark = |value: f64| match value {
            value if value <= 0.0 => ' ',
            value => SPARKS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        };
        format!("{}  most {most:.0}{unit}", values.map(spark).collect::<String>())
    }
}

fn waits(wait: &Summary) -> String {
    let told = |us: u64| Span(Duration::from_micros(us)).to_string();
    format!(
        "p50 {:<8} p90 {:<8} p99 {:<8} p99.9 {:<8} longest {}",
        told(wait.p50_us),
        told(wait.p90_us),
        told(wait.p99_us),
        told(wait.p999_us),
        told(wait.max_us)
    )
}

/// As much of a text as has room in so many places. What moves the cursor, or has no place of its own, is shown as `?`.
fn clipped(text: &str, width: usize) -> String {
    let mut places = 0;
    let shown = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let fits = |c: &char| {
        // From Hangul on, letters may be two places wide; the signs used here are not.
        places += if *c >= '\u{1100}' && !('\u{2000}'..='\u{2bff}').contains(c) { 2 } else { 1 };
        places <= width
    };
    shown.take_while(fits).collect()
}

/// What draws a frame over the former one, of which so many lines stand above the cursor.
fn redraw(frame: &[Row], before: usize, colours: bool) -> String {
    // To the first line of the former one, and nothing below that.
    let mut out = if before == 0 { String::new() } else { format!("\x1b[{before}A\r\x1b[J") };
    for row in frame {
        let (label, rest) = row.text.split_at(row.text.char_indices().nth(LABEL).map_or(row.text.len(), |(at, _)| at));
        match (colours, row.alarm) {
            (false, _) => out.push_str(&row.text),
            (true, false) => out.push_str(&format!("\x1b[2m{label}\x1b[0m{rest}")),
            (true, true) => out.push_str(&format!("\x1b[1;31m{}\x1b[0m", row.text)),
        }
        out.push('\n');
    }
    out
}

/// One second in a line.
fn line(live: &Live) -> String {
    let rate = |n: u64| format!("{:>6.0}/s", n as f64 / live.seconds);
    let us = |us: u64| Span(Duration::from_micros(us));
    let phase = if live.phase.is_empty() { "settling" } else { &live.phase };
    let ready = live.ready.map_or("?".to_owned(), |ready| ready.to_string());
    format!(
        "{:>5.0} s  {phase:<12}  offered {}  accepted {}  done {}  wait p50 {:>7} p99 {:>7}  under way {}  ready {ready}  open {}  failed {}  dup {}",
        live.at.as_secs_f64(),
        rate(live.since.offered),
        rate(live.since.confirmed),
        rate(live.since.succeeded),
        us(live.wait.p50_us),
        us(live.wait.p99_us),
        live.counts.under_way,
        live.counts.open,
        live.counts.failures,
        live.counts.duplicates + live.counts.repeats,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Counts, run::Profile};

    fn view(arrivals: &str) -> View {
        let profile = Profile { arrivals: arrivals.into(), ..Profile::default() };
        View::new(&Config::try_from(profile).unwrap())
    }

    fn live(at: u64, phase: &str, offered: u64, done: u64, ready: u64) -> Live {
        let wait = Summary {
            count: 900,
            p50_us: 11_200,
            p90_us: 40_000,
            p99_us: 72_600,
            p999_us: 1_400_000,
            max_us: 1_500_000,
            ..Summary::default()
        };
        Live {
            at: Duration::from_secs(at),
            phase: phase.into(),
            counts: Counts { under_way: 7, open: 38, unconfirmed: 1, ..Counts::default() },
            since: Counts {
                offered,
                confirmed: offered,
                attempts: done + 3,
                succeeded: done,
                failures: 3,
                ..Counts::default()
            },
            seconds: 1.0,
            wait,
            start_lag: Duration::from_micros(1_700),
            ready: Some(ready),
            held: Some(20),
        }
    }

    fn text(frame: &[Row]) -> String {
        frame.iter().map(|row| format!("{}|\n", row.text)).collect()
    }

    #[test]
    fn the_picture_is_this() {
        let mut view = view("constant 100/s 10s then ramp 100..200/s 20s as climb");
        let seen = [(100, 98, 0), (100, 100, 4), (104, 0, 100), (150, 160, 60), (200, 196, 31)];
        for (n, (offered, done, ready)) in (10..).zip(seen) {
            view.see(&live(n, "climb", offered, done, ready));
        }
        view.last.as_mut().unwrap().at += Duration::from_millis(900);
        let wanted = "\
time     ████████████████████····················  14 s of 30 s, 16 s left|
phase    climb (2 of 2)|
rates    offered 200/s     accepted 200/s     attempts 199/s     done 196/s     failed 3/s|
offered  ▄▄▅▆█  most 200/s|
done     ▄▅ ▇█  most 196/s|
wait     p50 11.2 ms  p90 40.0 ms  p99 72.6 ms  p99.9 1.40 s   longest 1.50 s|
backlog  ready 31        held 20      under way 7      open 38|
ready     ▁█▅▃  most 100|
verdict  duplicates 0  repeats 0  early 0  late 0  over attempts 0  unknown 0  unconfirmed 1|
tester   late by 1.7 ms at the 99th percentile|
";
        assert_eq!(text(&view.frame(100)), wanted);
    }

    #[test]
    fn after_the_plan_it_tells_what_is_open_and_a_closed_plan_is_marked() {
        let mut view = view("closed n=4 10s");
        view.see(&live(12, "", 0, 5, 0));
        let text = text(&view.frame(100));
        assert!(
            text.starts_with("time     ████████████████████████████████████████  12 s, the plan is over, 38 open|\n"),
            "{text}"
        );
        assert!(text.contains("phase    settling; closed: latency excludes waiting of the client|\n"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_their_number_stays() {
        let mut view = view("constant 100/s 1h as \u{6f22}\u{5b57}");
        let lines = 10;
        for n in 0..1_000 {
            view.see(&live(n, "\u{6f22}\u{5b57}\x1b[2J\r\u{6f22}", 1_000_000 + n, n, 1 << 40));
        }
        for width in [WIDTH_MIN, 80, 300] {
            let frame = view.frame(width);
            assert_eq!(frame.len(), lines);
            for row in frame {
                let wide = row.text.chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count();
                assert!(row.text.chars().count() + wide <= width, "{row:?} in {width}");
                assert!(!row.text.chars().any(char::is_control), "{row:?}");
            }
        }
        assert_eq!(view.seconds.len(), SPARKS_MAX);
    }

    #[test]
    fn a_picture_is_drawn_over_the_former_one_and_what_is_wrong_stands_out() {
        let mut view = view("constant 100/s 10s");
        let mut live = live(3, "constant", 100, 100, 0);
        view.see(&live);
        let calm = redraw(&view.frame(80), 0, true);
        assert!(calm.starts_with("\x1b[2mtime     \x1b[0m█") && !calm.contains("\x1b[1;31m"), "{calm:?}");
        live.counts.duplicates = 1;
        view.see(&live);
        let frame = view.frame(80);
        let alarm = redraw(&frame, 10, true);
        assert!(
            alarm.starts_with("\x1b[10A\r\x1b[J") && alarm.contains("\x1b[1;31mverdict  duplicates 1"),
            "{alarm:?}"
        );
        assert_eq!(alarm.matches('\n').count(), 10);
        let plain = redraw(&frame, 0, false);
        assert_eq!(plain, frame.iter().map(|row| format!("{}\n", row.text)).collect::<String>());
    }

    #[test]
    fn elsewhere_it_is_a_line_a_second() {
        let wanted = "   14 s  climb         offered    200/s  accepted    200/s  done    196/s  wait p50 11.2 ms p99 72.6 ms  \
            under way 7  ready 31  open 38  failed 0  dup 0";
        assert_eq!(line(&live(14, "climb", 200, 196, 31)), wanted);
    }
}

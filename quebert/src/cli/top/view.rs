//! The figures as lines of text. It knows no terminal but its width and height.

use super::{
    super::table::{self, Column, Set, age, plain},
    figures::{Destination, Figures, Queue},
};
use std::{io, time::Duration};

const QUEUES: [Column; 11] = [
    ("QUEUE", Set::Left),
    ("WAITING", Set::Right),
    ("OLDEST", Set::Right),
    ("IN/s", Set::Right),
    ("DONE/s", Set::Right),
    ("RETRIES/s", Set::Right),
    ("DEAD/s", Set::Right),
    ("SLOTS", Set::Right),
    ("WAIT p50", Set::Right),
    ("p99", Set::Right),
    ("DEAD LETTERS", Set::Right),
];

const DESTINATIONS: [Column; 6] = [
    ("DESTINATION", Set::Cut),
    ("REQUESTS/s", Set::Right),
    ("ERRORS/s", Set::Right),
    ("p99", Set::Right),
    ("SLOTS", Set::Right),
    ("STATE", Set::Left),
];

/// One picture. `away` are the dispatchers that don't answer, and why.
pub(super) fn lines(figures: &Figures, away: &[String], width: Option<usize>) -> io::Result<Vec<String>> {
    let mut out = Vec::new();
    let head = format!(
        "{} of {} dispatchers ready, {:.2} cores, {:.0} MiB\n\n",
        figures.ready,
        figures.answered + away.len(),
        figures.cores,
        figures.resident_bytes / 1_048_576.0
    );
    out.extend_from_slice(head.as_bytes());
    for why in away {
        out.extend_from_slice(format!("no answer: {}\n", plain(why)).as_bytes());
    }
    let queues: Vec<_> = figures.queues.iter().map(queue).collect();
    table::table_within(&mut out, &QUEUES, &queues, width)?;
    if !figures.destinations.is_empty() {
        out.push(b'\n');
        let rows: Vec<_> = figures.destinations.iter().map(destination).collect();
        table::table_within(&mut out, &DESTINATIONS, &rows, width)?;
    }
    let text = String::from_utf8(out).expect("made of text");
    Ok(text.lines().map(str::to_owned).collect())
}

fn queue(queue: &Queue) -> Vec<String> {
    vec![
        plain(&queue.name),
        whole(queue.waiting),
        if queue.waiting > 0.0 { age(queue.head_age) } else { "-".to_owned() },
        rate(queue.delivered),
        rate(queue.succeeded),
        rate(queue.retried),
        rate(queue.dead),
        format!("{}/{}", whole(queue.in_flight), whole(queue.limit)),
        time(queue.wait_p50),
        time(queue.wait_p99),
        whole(queue.dead_letters),
    ]
}

fn destination(destination: &Destination) -> Vec<String> {
    let failing = destination.errors > 0.0 && destination.errors >= destination.attempts / 2.0;
    let state = match (destination.silent, failing) {
        (true, _) => "silent",
        (false, true) => "failing",
        _ => "",
    };
    vec![
        plain(&destination.name),
        rate(destination.attempts),
        rate(destination.errors),
        time(destination.p99),
        format!("{}/{}", whole(destination.in_flight), whole(destination.limit)),
        state.to_owned(),
    ]
}

fn rate(a_second: f64) -> String {
    match a_second {
        0.0 => "0".to_owned(),
        n if n < 100.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

fn whole(n: f64) -> String {
    format!("{n:.0}")
}

fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    if seconds < 10.0 {
        let ms = seconds * 1000.0;
        return if ms < 10.0 {
            format!("{ms:.1}ms")
        } else if ms < 1000.0 {
            format!("{ms:.0}ms")
        } else {
            format!("{seconds:.1}s")
        };
    }
    age(Duration::from_secs_f64(seconds))
}

//! A task's story in about ten lines: what a person reads first when a promise to it was broken. The whole of it is what
//! [`trace::lines_about`](crate::trace::lines_about) tells.

use crate::{
    history::{Entry, TaskNo},
    trace,
};
use std::time::Duration;

/// Lines before and after the moment in question.
const BEFORE: usize = 7;
const AFTER: usize = 2;

/// What happened to a task around a moment: its beginning, the last things before, and the first ones after. What is left
/// out is counted.
pub fn story(entries: &[Entry], task: TaskNo, around: Duration) -> Vec<String> {
    let mut about = trace::About::default();
    let mine: Vec<&Entry> = entries.iter().filter(|entry| about.next(entry) == Some(task)).collect();
    let now = mine.partition_point(|entry| entry.at <= around);
    let from = now.saturating_sub(BEFORE);
    let to = (now + AFTER).min(mine.len());
    let tell = |entry: &&Entry| {
        let mut text = String::new();
        trace::line(entry, &mut text);
        text
    };
    let mut lines = Vec::new();
    if from > 0 {
        lines.push(tell(&mine[0]));
        lines.extend((from > 1).then(|| format!("     ... {} more", from - 1)));
    }
    lines.extend(mine[from..to].iter().map(tell));
    lines.extend((to < mine.len()).then(|| format!("     ... {} more", mine.len() - to)));
    lines
}

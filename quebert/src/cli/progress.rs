//! A sign of life on the terminal while something takes its time; nothing where standard error is none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

/// Counts, with what it counts and at which rate.
pub(super) fn spinner(what: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} {what}  {{per_sec}}  {{elapsed}}"));
    bar.set_style(style.expect("the template is right: only a word in it changes"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

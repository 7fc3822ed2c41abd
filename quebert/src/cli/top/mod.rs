//! `quebert top`: what the dispatchers do at this moment, by the figures of their `/metrics`. It changes nothing.

mod figures;
#[cfg(test)]
mod tests;
mod text;
mod view;

use super::{
    Failure, SourceArgs,
    client::{Call, Client},
    demo::screen::{self, Screen},
    table,
};
use crate::{config::value::Span, signals::Signals};
use clap::Args;
use figures::Figures;
use futures_util::future::join_all;
use std::{
    io::{self, Write as _},
    time::Duration,
};
use text::Samples;
use tokio::time::{Instant, sleep_until, timeout};

/// A dispatcher that does not answer must not hold up the others' figures.
const LIMIT: Duration = Duration::from_secs(5);

/// Flags of `quebert top`.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Where dispatchers serve /metrics; may be repeated [default: the config's admin.listen]
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// How long the figures are taken over
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = Span::parse)]
    interval: Span,
    /// Show the figures of one interval, and end
    #[arg(long)]
    once: bool,
}

/// One dispatcher, and what it said last.
struct Dispatcher {
    client: Client,
    before: Option<Samples>,
}

pub(super) async fn top(sources: &SourceArgs, args: &TopArgs) -> Result<(), Failure> {
    if args.interval.0.is_zero() {
        return Err(Failure::Usage("--interval must be longer than zero".to_owned()));
    }
    let urls = if args.urls.is_empty() { vec![own(sources)?] } else { args.urls.clone() };
    let mut dispatchers = Vec::new();
    for url in &urls {
        let address = url.trim_end_matches('/').trim_end_matches("/metrics");
        let client = Client::new(address, None).map_err(Failure::Usage)?;
        dispatchers.push(Dispatcher { client, before: None });
    }
    let mut signals = Signals::new();
    let mut screen = if screen::possible() && !args.once { Some(Screen::open()?) } else { None };
    let mut asked = Instant::now();
    let (_, away) = ask(&mut dispatchers, Duration::ZERO).await;
    if away.len() == dispatchers.len() {
        return Err(Failure::Unreachable(away.join("; ").into()));
    }
    loop {
        tokio::select! {
            () = sleep_until(asked + args.interval.0) => {}
            _ = signals.stop() => return Ok(()),
        }
        let over = asked.elapsed();
        asked = Instant::now();
        let (figures, away) = ask(&mut dispatchers, over).await;
        match &mut screen {
            Some(screen) => {
                let size = screen.size();
                let mut lines = view::lines(&figures, &away, Some(size.columns))?;
                lines.truncate(size.rows.saturating_sub(1));
                screen.show(&lines)?;
            }
            None => {
                let lines = view::lines(&figures, &away, table::terminal_width())?;
                writeln!(io::stdout(), "{}{}", lines.join("\n"), if args.once { "" } else { "\n" })?;
            }
        }
        if args.once {
            return if away.is_empty() { Ok(()) } else { Err(Failure::Partly) };
        }
    }
}

/// The config's own dispatcher.
fn own(sources: &SourceArgs) -> Result<String, Failure> {
    let listen = sources.load()?.admin.ok_or_else(|| {
        Failure::Usage("the config serves no metrics (admin.listen is empty); say where, as a URL".to_owned())
    })?;
    Ok(format!("http://{}", super::client::reachable(listen)))
}

/// Asks all at once. Those that don't answer are named, and counted again from their next answer on.
async fn ask(dispatchers: &mut [Dispatcher], over: Duration) -> (Figures, Vec<String>) {
    let one = async |dispatcher: &Dispatcher| {
        let answer = timeout(LIMIT, dispatcher.client.text(Call::get("/metrics"))).await;
        let away = || format!("{}: no answer in time", dispatcher.client.address());
        answer.map_err(|_| away())?.map_err(|error| error.to_string())
    };
    let answers = join_all(dispatchers.iter().map(one)).await;
    let mut away = Vec::new();
    let mut pairs = Vec::new();
    for (dispatcher, answer) in dispatchers.iter_mut().zip(answers) {
        match answer {
            Ok(text) => {
                let now = Samples::read(&text);
                let before = dispatcher.before.replace(now.clone()).unwrap_or_else(|| now.clone());
                pairs.push((before, now));
            }
            Err(error) => {
                dispatcher.before = None;
                away.push(error);
            }
        }
    }
    let pairs: Vec<(&Samples, &Samples)> = pairs.iter().map(|(before, now)| (before, now)).collect();
    (Figures::of(&pairs, over), away)
}

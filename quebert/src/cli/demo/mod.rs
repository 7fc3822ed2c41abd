//! `quebert demo`: the whole thing with nothing installed, to look at. An embedded broker in a temporary folder, executors
//! that misbehave, a steady stream of tasks, API and console; and sums in the end that add up. It leaves nothing behind.

mod folder;
mod ledger;
mod producer;
pub(super) mod screen;
mod stage;
mod stream;
mod teller;
mod view;
mod world;

use super::{Failure, run::open, serve::Listening};
use crate::{
    app::{App, Running},
    intake::Desk,
    signals::Signals,
};
use clap::Args;
use folder::Folder;
use ledger::{Ledger, Sums};
use producer::{Pace, Producer};
use quebert_dispatcher::shell::Summary;
use screen::Screen;
use stage::{Output, Stage};
use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use teller::Teller;
use tokio::sync::{mpsc, oneshot};
use world::Fleet;

/// Lines that wait to be printed. Whoever reads more slowly misses some.
const LINES: usize = 4096;

/// Flags of `quebert demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End once this many tasks have come to their end; without this and --seconds, Ctrl-C ends it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    tasks: Option<u64>,
    /// End after this time; with --tasks, the time in which they are enqueued
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// A line for each attempt instead of a screen, as whoever is no terminal gets it
    #[arg(long)]
    plain: bool,
    /// Where API and console are served; by default 127.0.0.1:9460 or, if that is taken, any free port
    #[arg(long, value_name = "ADDRESS")]
    api: Option<SocketAddr>,
}

pub(super) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    // From here on a signal ends the demo instead of the process.
    let mut signals = Signals::new();
    let folder = Folder::new().map_err(|e| Failure::other("make a temporary folder", e))?;
    let fleet = Fleet::start().await.map_err(|e| Failure::other("start the sample executors", e))?;
    let config = world::config(&folder, args.api)?;
    let queues: Vec<_> = config.core.lanes.iter().map(|lane| lane.queue.clone()).collect();
    let listen = config.api.listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
    let api = match args.api {
        Some(_) => Listening::on(listen).await?,
        None => Listening::on_or_anywhere(listen).await?,
    };
    let engine = open(&config).await?;
    let ledger = Arc::new(Ledger::new(engine.admin.clone()));
    let (output, teller) = args.output()?;
    let counted = engine.clone().with_admin(ledger.clone());
    let mut running = App::new(config).engine(counted).observer(teller.clone()).observer(ledger.clone()).start()?;
    let api = api.serve(running.api_state())?;
    let address = format!("http://{}/", api.address());
    if matches!(output, Output::Lines(_)) {
        writeln!(io::stdout(), "console: {address}")?;
    }
    let producer = Producer { desk: Desk::new(&running.config), ledger: ledger.clone(), origins: fleet.origins() };
    let state = running.api_state();
    let mut stage = Stage { output, address, ledger: ledger.clone(), teller: teller.clone(), fleet, state };

    args.play(&mut stage, producer, &mut signals).await;
    let summary = drain(&mut stage, &mut running, &mut signals).await;
    tokio::select! {
        () = api.stop() => {}
        _ = signals.next() => {}
    }
    let took = teller.elapsed();
    let left = ledger.close(&*engine.broker, &queues, &summary).await;
    let sums = left.map_err(|e| Failure::other("ask the broker what is left", e))?;
    engine.close().await;
    stage.end()?;
    let balanced = sums.add_up() && running.metrics.imbalance().values().all(|n| *n == 0);
    told(took, &sums, ledger.refused(), balanced)?;
    if balanced { Ok(()) } else { Err(Failure::Partly) }
}

/// Lets what is under way end, and shows it; a second signal cuts it off.
async fn drain(stage: &mut Stage, running: &mut Running, signals: &mut Signals) -> Summary {
    running.health.drain();
    running.handle.drain(running.config.drain_grace);
    let shown = async {
        // With nobody to show it to, it goes on all the same.
        drop(stage.play().await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        summary = running.end() => return summary,
        _ = signals.next() => running.handle.stop_now(),
        () = shown => {}
    }
    running.end().await
}

impl DemoArgs {
    /// Where what happens is shown, and who puts it into words.
    fn output(&self) -> io::Result<(Output, Arc<Teller>)> {
        if !self.plain && screen::possible() {
            return Ok((Output::Screen(Screen::open()?), Arc::new(Teller::new(None))));
        }
        let (sender, lines) = mpsc::channel(LINES);
        Ok((Output::Lines(lines), Arc::new(Teller::new(Some(sender)))))
    }

    /// Carries the stream to the broker and shows what happens, until it is over or somebody has had enough of it. What
    /// was begun to be stored is stored then.
    async fn play(&self, stage: &mut Stage, producer: Producer, signals: &mut Signals) {
        let (ledger, teller) = (producer.ledger.clone(), stage.teller.clone());
        let (stop, stopped) = oneshot::channel();
        let mut producing = tokio::spawn(producer.run(Pace { tasks: self.tasks, seconds: self.seconds }, stopped));
        let over = async {
            match (self.tasks, self.seconds) {
                (Some(_), _) => {
                    drop((&mut producing).await);
                    teller.until_ended(ledger.enqueued()).await;
                }
                (None, Some(seconds)) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.next() => {}
            () = over => {}
            // Nobody looks any more.
            _ = stage.play() => {}
        }
        drop(stop);
        if !producing.is_finished() {
            drop(producing.await);
        }
    }
}

fn told(took: Duration, sums: &Sums, refused: u64, balanced: bool) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\nafter {:.1} s:\n{sums}", took.as_secs_f64())?;
    if refused > 0 {
        writeln!(out, "refused:    {refused} tasks that the broker did not take")?;
    }
    if !balanced {
        writeln!(out, "THE SUMS DON'T ADD UP: this is a bug of Quebert's.")?;
    }
    Ok(())
}

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || "must be a number above 0, up to 86400".to_owned();
    text.parse().ok().filter(|n| *n > 0.0 && *n <= 86_400.0).ok_or_else(wrong)
}

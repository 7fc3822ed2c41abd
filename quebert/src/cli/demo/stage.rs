//! Where the demo is shown: a screen that is drawn anew twice a second or, for whoever is no terminal, a line for each
//! attempt. It decides nothing.

use super::{
    ledger::Ledger,
    screen::Screen,
    teller::{News, Teller, Tone},
    view::{self, LaneRow, Picture},
    world::Fleet,
};
use crate::api::state::ApiState;
use quebert_broker_adapter::admin::Place;
use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::MissedTickBehavior};

/// How often the screen is drawn.
const REFRESH: Duration = Duration::from_millis(500);

/// How the demo is shown.
pub(super) enum Output {
    Screen(Screen),
    Lines(mpsc::Receiver<News>),
}

pub(super) struct Stage {
    pub(super) output: Output,
    /// Where the console is.
    pub(super) address: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) teller: Arc<Teller>,
    pub(super) fleet: Fleet,
    pub(super) state: ApiState,
}

impl Stage {
    /// Shows what happens, until it is dropped.
    ///
    /// # Errors
    /// When there is nobody to show it to any more.
    pub(super) async fn play(&mut self) -> io::Result<()> {
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let line = async {
                match &mut self.output {
                    Output::Lines(lines) => lines.recv().await,
                    Output::Screen(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(news) = line => writeln!(io::stdout(), "{news}")?,
                _ = refresh.tick() => {
                    self.tell_of_executors();
                    self.draw().await?;
                }
            }
        }
    }

    /// Gives the terminal back; what lines are left are written.
    pub(super) fn end(self) -> io::Result<()> {
        if let Output::Lines(mut lines) = self.output {
            while let Ok(news) = lines.try_recv() {
                writeln!(io::stdout(), "{news}")?;
            }
        }
        Ok(())
    }

    fn tell_of_executors(&mut self) {
        for (name, up) in self.fleet.changes() {
            let (fate, tone) = if up { ("executor is back", Tone::Good) } else { ("executor goes down", Tone::Bad) };
            self.teller.tell(name, fate, tone);
        }
    }

    async fn draw(&mut self) -> io::Result<()> {
        let Output::Screen(screen) = &mut self.output else { return Ok(()) };
        let picture = Picture {
            elapsed: self.teller.elapsed(),
            address: self.address.clone(),
            draining: self.state.health.draining(),
            lanes: lanes(&self.state).await,
            executors: self.fleet.rows(&self.state.board.destinations().destinations),
            news: self.teller.news(),
            enqueued: self.ledger.enqueued(),
        };
        screen.show(&view::lines(&picture, screen.size(), screen.color()))
    }
}

/// What broker and dispatcher say of each lane.
async fn lanes(state: &ApiState) -> Vec<LaneRow> {
    let mut rows = Vec::new();
    for lane in &state.config.core.lanes {
        let dead = state.admin.status(Place::Dead(lane.queue.clone())).await.ok();
        rows.push(LaneRow {
            name: lane.name.clone(),
            slots_max: lane.slots_max,
            queue: state.admin.status(Place::Queue(lane.queue.clone())).await.ok(),
            dead: dead.map(|dead| dead.ready),
            figures: state.board.lane(&lane.name),
        });
    }
    rows
}

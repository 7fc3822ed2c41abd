//! Does what is planned, when it is planned, while a session goes on, and tells the book of it: from the deed until all
//! that was hit works again. It waits for nothing that lasts: a restart goes on beside the run.

use super::{Deed, FaultSpec, LinkState};
use crate::{
    run::{Live, RunError, Session},
    target::{Dispatcher, TargetError},
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};

/// Between two looks at what is being mended.
const POLL: Duration = Duration::from_millis(20);
/// What stood in sockets and buffers when a fault was over arrives a little later, on a busy machine.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How long the dispatchers may take to be ready again. Then the fault counts as over, and what they did not do is theirs.
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);

/// Carries faults out.
pub(crate) struct Director {
    faults: Vec<Acting>,
}

struct Acting {
    spec: FaultSpec,
    stage: Stage,
}

enum Stage {
    Planned,
    /// Done at this moment of the run, and not undone.
    On(Duration),
    Mending(Duration, JoinHandle<Result<Mended, TargetError>>),
    /// Whole again, as far as it is ours; the dispatchers have until then.
    Recovering(Duration, Instant),
    Over,
}

/// What a restart brought.
enum Mended {
    Dispatcher(usize, Box<Dispatcher>),
    Broker,
}

impl Director {
    pub(crate) fn new(faults: &[FaultSpec]) -> Self {
        let acting = |spec: &FaultSpec| Acting { spec: spec.clone(), stage: Stage::Planned };
        Self { faults: faults.iter().map(acting).collect() }
    }

    /// Follows the plan to its end, and the faults to theirs.
    ///
    /// # Errors
    /// When something does not start again.
    pub(crate) async fn drive(mut self, session: &mut Session, live: &mut impl FnMut(&Live)) -> Result<(), RunError> {
        let mut publishing = session.publish();
        let mut published = false;
        loop {
            self.act(session).await?;
            let next = self.next(session.book().clock().now().run);
            match next {
                None if published => return Ok(()),
                Some(moment) if published => session.look_until(moment, live).await,
                _ => {
                    let moment = next.unwrap_or(Duration::MAX);
                    published = session.watch_until(&mut publishing, moment, live).await?;
                }
            }
        }
    }

    /// When there is something to do again; `None` if there is nothing any more.
    fn next(&self, now: Duration) -> Option<Duration> {
        let next = |acting: &Acting| match acting.stage {
            Stage::Planned => Some(acting.spec.from),
            Stage::On(_) => acting.spec.ends().then_some(acting.spec.until),
            Stage::Mending(..) | Stage::Recovering(..) => Some(now + POLL),
            Stage::Over => None,
        };
        self.faults.iter().filter_map(next).min()
    }

    async fn act(&mut self, session: &mut Session) -> Result<(), RunError> {
        for acting in &mut self.faults {
            let stage = std::mem::replace(&mut acting.stage, Stage::Over);
            acting.stage = advance(&acting.spec, stage, session).await?;
        }
        Ok(())
    }
}

/// One step of one fault, if it is time for it.
async fn advance(spec: &FaultSpec, stage: Stage, session: &mut Session) -> Result<Stage, RunError> {
    let now = session.book().clock().now().run;
    Ok(match stage {
        Stage::Planned if now >= spec.from => {
            begin(spec.deed, session).await;
            if spec.ends() {
                Stage::On(now)
            } else {
                over(spec, now, session);
                Stage::Over
            }
        }
        Stage::On(from) if now >= spec.until => match spec.deed {
            Deed::Link(of, _) => {
                session.target().set_links(of, LinkState::Open);
                Stage::Recovering(from, Instant::now() + RECOVERY_LIMIT)
            }
            Deed::KillDispatcher(index) => Stage::Mending(from, start(session, index)),
            Deed::KillBroker => match session.target().start_broker() {
                Some(job) => Stage::Mending(from, tokio::spawn(async move { job.await.map(|()| Mended::Broker) })),
                None => Stage::Mending(from, start(session, 0)),
            },
        },
        Stage::Mending(from, job) if job.is_finished() => {
            match job.await.map_err(RunError::Publisher)?? {
                Mended::Dispatcher(index, dispatcher) => session.target().put(index, *dispatcher),
                Mended::Broker => {}
            }
            Stage::Recovering(from, Instant::now() + RECOVERY_LIMIT)
        }
        Stage::Recovering(from, limit) => {
            if session.target().is_ready().await || Instant::now() > limit {
                over(spec, from, session);
                Stage::Over
            } else {
                Stage::Recovering(from, limit)
            }
        }
        waiting => waiting,
    })
}

async fn begin(deed: Deed, session: &mut Session) {
    match deed {
        Deed::KillDispatcher(index) => session.target().dispatchers_mut()[index].kill().await,
        Deed::KillBroker => session.target().kill_broker().await,
        Deed::Link(of, state) => session.target().set_links(of, state),
    }
}

fn start(session: &mut Session, index: usize) -> JoinHandle<Result<Mended, TargetError>> {
    let starting = session.target().starting(index);
    tokio::spawn(async move { Ok(Mended::Dispatcher(index, Box::new(starting.await?))) })
}

fn over(spec: &FaultSpec, from: Duration, session: &Session) {
    let until = session.book().clock().now().run + AFTERMATH;
    session.book().fault(spec.to_string(), from, until);
}

//! The program of a dispatcher's host: the production dispatcher on the world's ports.

use super::{
    Setup,
    config::core_config,
    mediator::{CaseMediator, HookBook},
    probe::{Probe, ProbedBroker, ProbedObserver, ProbedTransport},
};
use crate::{broker::SimBroker, case::Case, draw::Draw, env::Env, fleet::SimConnector, history::What, host::Host};
use quebert_broker_adapter::http::{HttpConfig, HttpTransport};
use quebert_dispatcher::{
    config::CoreConfig,
    event::Event,
    ports::{broker::Broker, transport::Transport},
    shell::{Dispatcher, Handle},
};
use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The dispatchers of a world, as whoever steers them sees them.
#[derive(Clone, Default)]
pub(super) struct Crew(Arc<Mutex<BTreeMap<Host, Member>>>);

/// One host's dispatcher.
#[derive(Default)]
pub(super) struct Member {
    /// How often its host was started.
    pub(super) starts: u64,
    /// Of the process that runs now.
    pub(super) handle: Option<Handle>,
    /// Of the process that runs now.
    pub(super) probe: Probe,
    /// It ended by itself.
    pub(super) ended: bool,
}

impl Crew {
    /// Looks at one of them, or changes it.
    pub(super) fn with<T>(&self, host: Host, look: impl FnOnce(&mut Member) -> T) -> T {
        look(self.lock().entry(host).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Host, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every dispatcher of a world shares.
#[derive(Clone)]
pub(super) struct Common {
    /// The case.
    pub(super) case: Arc<Case>,
    /// What users of the library brought.
    pub(super) setup: Setup,
    /// Who steers them.
    pub(super) crew: Crew,
    /// What their hooks have done.
    pub(super) hooks: HookBook,
}

impl Common {
    /// The config of one dispatcher's `start`th start.
    pub(super) fn config_of(&self, host: Host, start: u64) -> CoreConfig {
        let mut config = core_config(&self.case.world);
        config.seed = Draw::new(self.case.seed).of("core").of(&host.to_string()).at(start).number();
        if let Some(change) = &self.setup.config {
            change(&mut config);
        }
        config
    }
}

/// Dispatches until the host goes down, or until it has drained.
pub(super) async fn dispatch(env: Env, common: Common) {
    let probe = Probe::default();
    let start = common.crew.with(env.host(), |member| {
        member.starts += 1;
        member.starts
    });
    let config = common.config_of(env.host(), start);
    let mut broker: Arc<dyn Broker> = Arc::new(SimBroker::new(env.clone(), &common.case.world.broker));
    if let Some(wrap) = &common.setup.broker {
        broker = wrap(&env, broker);
    }
    let mut transport: Arc<dyn Transport> =
        Arc::new(HttpTransport::new(SimConnector::new(env.net.clone()), HttpConfig::default()));
    if let Some(wrap) = &common.setup.transport {
        transport = wrap(&env, transport);
    }
    let note = {
        let env = env.clone();
        move |event: &Event| env.note(What::Event(event.clone()))
    };
    let mut builder = Dispatcher::builder(
        config,
        Arc::new(ProbedBroker::new(broker, probe.clone())),
        Arc::new(ProbedTransport::new(transport, probe.clone())),
    )
    .clock(Arc::new(env.clock()))
    .hook_timeout(Duration::from_millis(common.case.world.dispatcher.hook_timeout_ms))
    .observer(ProbedObserver::new(note, probe.clone()));
    if common.case.world.dispatcher.mediator {
        builder = builder.mediator(CaseMediator::new(&common.case, common.hooks.clone()));
    }
    for change in &common.setup.dispatcher {
        builder = change(&env, builder);
    }
    let dispatcher = builder.build();
    common.crew.with(env.host(), |member| {
        member.handle = Some(dispatcher.handle());
        member.probe = probe.clone();
        member.ended = false;
    });
    let summary = tokio::select! {
        biased;
        () = probe.death() => None,
        summary = dispatcher.run() => Some(summary),
    };
    if let Some(summary) = summary.filter(|_| !probe.is_dead()) {
        env.note(What::Ended(summary));
        common.crew.with(env.host(), |member| {
            member.ended = true;
            member.handle = None;
        });
    }
    // The director takes the host down, or starts it again.
    pending::<()>().await;
}

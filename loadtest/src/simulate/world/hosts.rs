//! The programs of a virtual world's hosts: the tester's executors and publisher, and the production dispatcher, on the
//! simulated network. None of them decides anything that a real run would not.

use super::scene::Scene;
use crate::{
    arrivals::Plan,
    fleet::{Shared, answer},
    ledger::{Book, End},
    publish::{Door, Maker, Parcel, Refused, drive},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use quebert_broker_adapter::http::{HttpConfig, HttpTransport};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, Target},
        observer::Observer,
    },
    shell::Dispatcher,
};
use quebert_sim::{
    broker::SimBroker,
    case::WorldSpec,
    env::Env,
    fleet::{PORT, SimConnector},
    host::Host,
    net::Listener,
    run::config::core_config,
};
use quebert_wire::{Form, JsonCodec};
use std::{
    future::pending,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Serves, and stops listening while connections are to be refused.
pub(super) async fn executor(env: Env, scene: Arc<Scene>, index: usize) {
    let shared = scene.props().executors[index].clone();
    loop {
        let now = shared.now();
        let refusing = shared.state().refuses_until(now);
        if let Some(until) = refusing {
            sleep(until.saturating_sub(now)).await;
            continue;
        }
        let mut listener = env.net.bind(PORT).await.expect("nobody else listens on an executor's port");
        let from = shared.state().refuses_from(now).unwrap_or(Duration::MAX);
        // The end of `accept` ends all connections. Without an end it goes on until the world's.
        drop(timeout(from.saturating_sub(now), accept(&mut listener, &shared)).await);
    }
}

async fn accept(listener: &mut Listener, shared: &Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let shared = shared.clone();
                let service =
                    service_fn(move |request| answer(request, shared.clone(), Arc::new(AtomicBool::new(false))));
                let mut http = http1::Builder::new();
                // Its dates come from the machine's clock.
                http.auto_date_header(false).header_read_timeout(None);
                // A connection that breaks off is the dispatcher's to notice.
                connections.spawn(async move { drop(http.serve_connection(TokioIo::new(stream), service).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The production dispatcher, from now on.
pub(super) async fn dispatcher(env: Env, scene: Arc<Scene>, world: Arc<WorldSpec>) {
    let mut config = core_config(&world);
    config.seed = env.draw.of("core").number();
    let broker = SimBroker::new(env.clone(), &world.broker);
    let transport = HttpTransport::new(SimConnector::new(env.net.clone()), HttpConfig::default());
    let dispatcher = Dispatcher::builder(config, Arc::new(broker), Arc::new(transport))
        .clock(Arc::new(env.clock()))
        .observer(Clerk(scene.book().clone()))
        .build();
    drop(dispatcher.run().await);
}

/// Tells the ledger what lies among the dead letters, which in a real run is looked up there.
struct Clerk(Arc<Book>);

impl Observer for Clerk {
    fn observe(&self, event: &Event) {
        let Event::Settled { result, task: Some(task), .. } = event else { return };
        let end = match result {
            Settlement::DeadLettered => End::Dead,
            Settlement::Expired => End::Expired,
            _ => return,
        };
        if let Some(number) = self.0.number(task.as_str()) {
            self.0.found(number, end);
        }
    }
}

/// Follows the plan to its end.
pub(super) async fn publisher(env: Env, scene: Arc<Scene>, world: Arc<WorldSpec>) {
    let config = &scene.config;
    let broker = SimBroker::new(env.clone(), &world.broker);
    let mut events = broker.start();
    while !matches!(events.recv().await, Some(BrokerEvent::Connected) | None) {}
    env.net.spawn(async move { while events.recv().await.is_some() {} });
    let plan = Plan::new(config.arrivals.clone(), config.mix.clone(), config.profile.seed);
    let origin = |to: &str| {
        let place = config.executors.iter().position(|executor| executor.name == to);
        let number = place.and_then(|place| u8::try_from(place + 1).ok());
        format!("http://{}", Host::Executor(number.expect("a checked mix names executors that there are")))
    };
    let classes = config.mix.classes().iter().map(|class| (class.queue.clone(), origin(&class.to)));
    let maker = Maker::new(classes.collect::<Vec<_>>());
    let door = SimDoor { broker, window: config.target.publish_window.into() };
    let paced = drive(plan, maker, Arc::new(door), scene.book().clone()).await;
    scene.published(paced);
    // A program that ends is a process that exits.
    pending::<()>().await;
}

/// The way into the simulated broker.
struct SimDoor {
    broker: SimBroker,
    window: usize,
}

impl Door for SimDoor {
    fn batch_max(&self) -> usize {
        1
    }

    fn window(&self) -> usize {
        self.window
    }

    fn publish(&self, parcels: Vec<Parcel>) -> BoxFuture<'_, Vec<Result<(), Refused>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(parcels.len());
            for parcel in parcels {
                answers.push(match parcel.envelope.to_message(Form::Envelope(&JsonCodec)) {
                    Err(e) => Err(Refused(e.to_string())),
                    Ok(message) => {
                        let stored = self.broker.publish(Target::Queue(parcel.queue), message).await;
                        stored.map_err(|e| Refused(e.to_string()))
                    }
                });
            }
            answers
        })
    }
}

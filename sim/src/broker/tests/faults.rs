//! What takes a network and a client to see: heartbeats and alarms.

use super::stage::{Play, play};
use crate::{
    broker::{Cluster, Knobs, SimBroker},
    case::BrokerSpec,
    env::Env,
    host::Host,
    net::Controls,
};
use quebert_dispatcher::ports::broker::{Broker, BrokerEvent, PublishError, Source, Target};
use quebert_wire::Message;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::sleep};

const CLIENT: Host = Host::Dispatcher(1);

/// Waits for an event of which `pick` makes something.
async fn until<T>(events: &mut mpsc::Receiver<BrokerEvent>, pick: impl Fn(&BrokerEvent) -> Option<T>) -> T {
    loop {
        if let Some(found) = pick(&events.recv().await.expect("the events go on")) {
            return found;
        }
    }
}

fn reason(event: &BrokerEvent) -> Option<&'static str> {
    if let BrokerEvent::Disconnected { reason, .. } = event { Some(*reason) } else { None }
}

fn start(env: &Env, spec: &BrokerSpec) -> (SimBroker, mpsc::Receiver<BrokerEvent>) {
    let broker = SimBroker::new(env.clone(), spec);
    let events = broker.start();
    (broker, events)
}

#[test]
fn a_frozen_broker_is_noticed_and_a_frozen_client_too() {
    let spec = BrokerSpec { heartbeat_ms: 1000, ..BrokerSpec::default() };
    let freeze = |host, frozen| move |world: &mut dyn Controls, _: &Cluster| world.freeze(host, frozen);
    let cues: Vec<(u64, Play)> = vec![
        (5_000, Box::new(freeze(Host::Broker(1), true))),
        (15_000, Box::new(freeze(Host::Broker(1), false))),
        (30_000, Box::new(freeze(CLIENT, true))),
        (40_000, Box::new(freeze(CLIENT, false))),
    ];
    play(&spec.clone(), cues, move |env, _| {
        let spec = spec.clone();
        async move {
            let (_broker, mut events) = start(&env, &spec);
            assert_eq!(until(&mut events, reason).await, "heartbeat");
            let noticed = env.now();
            assert!((5_900..7_200).contains(&noticed.as_millis()), "after two heartbeats of silence: {noticed:?}");
            until(&mut events, |event| matches!(event, BrokerEvent::Connected).then_some(())).await;
            assert!(env.now() > Duration::from_secs(15));
            // The broker has hung up meanwhile, for the same reason.
            until(&mut events, reason).await;
            assert!(env.now() >= Duration::from_secs(40), "a frozen client notices nothing: {:?}", env.now());
            until(&mut events, |event| matches!(event, BrokerEvent::Connected).then_some(())).await;
        }
    });
}

#[test]
fn an_alarm_blocks_publishes_and_not_acks() {
    let spec = BrokerSpec::default();
    let alarm = |alarm, ms| {
        move |_: &mut dyn Controls, cluster: &Cluster| {
            cluster.set(Duration::from_millis(ms), Knobs { alarm, ..Knobs::default() });
        }
    };
    let cues: Vec<(u64, Play)> = vec![(5_000, Box::new(alarm(true, 5_000))), (50_000, Box::new(alarm(false, 50_000)))];
    play(&spec.clone(), cues, move |env, cluster| {
        let spec = spec.clone();
        async move {
            let queue: Arc<str> = "q".into();
            cluster.declare(&queue);
            let target = Target::Queue(queue.clone());
            let message = || Message { body: "a".into(), ..Message::default() };
            let (broker, mut events) = start(&env, &spec);
            until(&mut events, |event| matches!(event, BrokerEvent::Connected).then_some(())).await;
            broker.publish(target.clone(), message()).await.unwrap();
            broker.open(Source::Queue(queue), 5);
            let pick = |event: &BrokerEvent| match event {
                BrokerEvent::Delivered(delivery) => Some(delivery.tag),
                _ => None,
            };
            let held = until(&mut events, pick).await;
            sleep(Duration::from_secs(6)).await;
            // The first runs into the alarm, and nobody knows what becomes of it. The second never leaves.
            let (first, second) = tokio::join!(broker.publish(target.clone(), message()), async {
                sleep(Duration::from_secs(1)).await;
                broker.publish(target.clone(), message()).await
            });
            assert!(matches!(first, Err(PublishError::Unknown(_))), "{first:?}");
            assert!(matches!(second, Err(PublishError::NotConnected(_))), "{second:?}");
            broker.ack(held);
            assert_eq!(broker.depth(target.clone()).await.unwrap().consumers, 1, "this connection goes on");
            let blocked = |event: &BrokerEvent| match event {
                BrokerEvent::Blocked(blocked) => Some(*blocked),
                _ => None,
            };
            assert!(until(&mut events, blocked).await);
            assert!(!until(&mut events, blocked).await);
            // What ran into the alarm was stored after it.
            until(&mut events, pick).await;
            broker.publish(target, message()).await.unwrap();
        }
    });
}

#[test]
fn a_source_that_fails_and_is_paused_is_let_be() {
    let spec = BrokerSpec::default();
    let cancel = |_: &mut dyn Controls, cluster: &Cluster| cluster.cancel_consumer(Duration::from_secs(5), CLIENT, "q");
    let cues: Vec<(u64, Play)> = vec![(5_000, Box::new(cancel))];
    play(&spec.clone(), cues, move |env, cluster| {
        let spec = spec.clone();
        async move {
            let source = Source::Queue("q".into());
            cluster.declare(&"q".into());
            let (broker, mut events) = start(&env, &spec);
            broker.open(source.clone(), 1);
            until(&mut events, |event| matches!(event, BrokerEvent::Closed { .. }).then_some(())).await;
            broker.pause(&source);
            // Past the moment at which it would have been tried again.
            sleep(Duration::from_secs(60)).await;
            let target = Target::Queue("q".into());
            assert_eq!(broker.depth(target).await.unwrap().consumers, 0);
            broker.close(&source);
            broker.open(source, 1);
            until(&mut events, |event| matches!(event, BrokerEvent::Opened { .. }).then_some(())).await;
        }
    });
}

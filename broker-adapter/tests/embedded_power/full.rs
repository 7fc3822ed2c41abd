//! A disk without room: publishes are refused and say why, what is stored can be taken and settled, and when there is room
//! again all is as before. A file system that is full is in embedded_damage.rs.

use super::{
    audit::audit,
    disk::{Disk, Loss},
    ledger::{Copy, Found, Key, Ledger, Spot},
    life::{config, within},
    run,
};
use quebert_broker_adapter::embedded::EmbeddedBroker;
use quebert_dispatcher::ports::broker::{Broker as _, BrokerEvent, PublishError};
use rand::{SeedableRng as _, rngs::StdRng};
use std::time::{Duration, Instant};
use tokio::{sync::mpsc, time::sleep};

const QUEUE: Copy = Copy { spot: Spot::Queue(0), number: 0 };

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_settles_go_on() {
    let (disk, mut ledger) = (Disk::new(), Ledger::default());
    let broker = EmbeddedBroker::open_on(disk.clone(), config()).unwrap();
    for _ in 0..200 {
        publish(&broker, &mut ledger).await.unwrap();
    }
    disk.has_room_for(disk.bytes());
    let refusal = refused(&broker, &mut ledger).await;
    let told = refusal.to_string();
    assert!(matches!(refusal, PublishError::Refused(_)), "{told}");
    assert!(["full", "space", "room"].iter().any(|word| told.contains(word)), "it says what is the matter: {told}");

    // What is stored is delivered and settled, all of it.
    let mut events = broker.start();
    broker.open(QUEUE.spot.source().unwrap(), 20);
    let settled = settle_all(&broker, &mut events, &mut ledger).await;
    assert!(settled >= 200, "{settled}");
    within("a stop", broker.stop()).await;
    drop(broker);
    let disk = disk.after(Loss::All, &mut StdRng::seed_from_u64(1));
    audit(&disk, &mut ledger).await.unwrap();
    assert!(ledger.wrong.is_empty(), "{:#?}", ledger.wrong);
    assert_eq!(ledger.alive(), 0, "what was settled is gone for good");
}

#[tokio::test]
async fn publishes_go_on_when_there_is_room_again_and_nothing_confirmed_is_lost() {
    let (disk, mut ledger) = (Disk::new(), Ledger::default());
    let broker = EmbeddedBroker::open_on(disk.clone(), config()).unwrap();
    for _ in 0..3 {
        for _ in 0..100 {
            publish(&broker, &mut ledger).await.unwrap();
        }
        disk.has_room_for(disk.bytes());
        refused(&broker, &mut ledger).await;
        disk.has_room_for(u64::MAX);
        let start = Instant::now();
        while let Err(error) = publish(&broker, &mut ledger).await {
            assert!(start.elapsed() < Duration::from_secs(30), "there is room, and it says {error}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let confirmed = ledger.alive();
    disk.kill();
    drop(broker);
    let disk = disk.after(Loss::All, &mut StdRng::seed_from_u64(1));
    audit(&disk, &mut ledger).await.unwrap();
    assert!(ledger.wrong.is_empty(), "{:#?}", ledger.wrong);
    assert!(confirmed > 300 && ledger.alive() >= confirmed, "{confirmed} confirmed, {} there", ledger.alive());
}

#[test]
fn a_disk_that_fills_up_now_and_then_and_loses_power_loses_no_confirmed_task() {
    let tally = run(|n| (n < 40).then_some(n), Disk::becomes_tight);
    assert!(tally.counts.confirmed > 1000 && tally.counts.unanswered > 100, "{tally:?}");
}

/// Publishes one more to the queue.
async fn publish(broker: &EmbeddedBroker, ledger: &mut Ledger) -> Result<(), PublishError> {
    let key: Key = ledger.new_message(700, 0);
    let published = within("an answer", broker.publish(QUEUE.spot.target(), ledger.message(key, QUEUE))).await;
    match &published {
        Ok(()) => ledger.is(key, "confirmed", Some(QUEUE)),
        Err(PublishError::Unknown(_)) => ledger.may_become(key, "unknown", [Some(QUEUE)]),
        Err(_) => {}
    }
    published
}

/// Publishes until there is no room, and a little more.
async fn refused(broker: &EmbeddedBroker, ledger: &mut Ledger) -> PublishError {
    for _ in 0..100_000 {
        if let Err(error) = publish(broker, ledger).await {
            for _ in 0..5 {
                let again = publish(broker, ledger).await;
                assert!(again.is_err(), "there is no room");
            }
            return error;
        }
    }
    panic!("a disk without room never refuses");
}

/// Acks all that comes, until nothing is left.
async fn settle_all(broker: &EmbeddedBroker, events: &mut mpsc::Receiver<BrokerEvent>, ledger: &mut Ledger) -> usize {
    let mut settled = 0;
    while !ledger.at(QUEUE.spot).is_empty() {
        let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await;
        let Ok(Some(event)) = event else { panic!("{settled} were settled, and then no more came") };
        let BrokerEvent::Delivered(delivery) = event else { continue };
        let found = Found { spot: QUEUE.spot, message: delivery.message, redelivered: Some(delivery.redelivered) };
        let (key, _) = ledger.delivered(&found).expect("one of ours");
        broker.ack(delivery.tag);
        ledger.is(key, "acked", None);
        settled += 1;
    }
    settled
}

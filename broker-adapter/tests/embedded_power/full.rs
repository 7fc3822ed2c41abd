//! A disk without room: publishes are refused and say why, and when there is room again all is as before. What can be
//! settled meanwhile depends on the reserve that the store keeps in its folder, so that is in embedded_damage.rs.

use super::{
    audit::audit,
    ledger::{Copy, Key, Ledger, Spot},
    life::{config, within},
    run,
};
use quebert_broker_adapter::embedded::{
    EmbeddedBroker,
    simulation::{Disk, Loss, PowerCut, SECTOR},
};
use quebert_dispatcher::ports::broker::{Broker as _, PublishError};
use rand::{SeedableRng as _, rngs::StdRng};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const QUEUE: Copy = Copy { spot: Spot::Queue(0), number: 0 };

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_says_why() {
    let (disk, mut ledger) = (Disk::new(), Ledger::default());
    let broker = EmbeddedBroker::open_on(disk.clone(), config()).unwrap();
    for _ in 0..200 {
        publish(&broker, &mut ledger).await.unwrap();
    }
    disk.has_room_for(Some(0));
    let refusal = refused(&broker, &mut ledger).await;
    assert!(matches!(&refusal, PublishError::Refused(words) if words.contains("space")), "{refusal}");
    let confirmed = ledger.alive();
    disk.kill();
    drop(broker);
    let disk = disk.after(PowerCut { loss: Loss::All, sector: SECTOR }, &mut StdRng::seed_from_u64(1));
    audit(&disk, &mut ledger).await.unwrap();
    assert!(ledger.wrong.is_empty(), "{:#?}", ledger.wrong);
    assert!(confirmed >= 200 && ledger.alive() == confirmed, "{confirmed} confirmed, {} there", ledger.alive());
}

#[tokio::test]
async fn publishes_go_on_when_there_is_room_again_and_nothing_confirmed_is_lost() {
    let (disk, mut ledger) = (Disk::new(), Ledger::default());
    let broker = EmbeddedBroker::open_on(disk.clone(), config()).unwrap();
    for _ in 0..3 {
        for _ in 0..100 {
            publish(&broker, &mut ledger).await.unwrap();
        }
        disk.has_room_for(Some(0));
        refused(&broker, &mut ledger).await;
        disk.has_room_for(None);
        let start = Instant::now();
        while let Err(error) = publish(&broker, &mut ledger).await {
            assert!(start.elapsed() < Duration::from_secs(30), "there is room, and it says {error}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let confirmed = ledger.alive();
    disk.kill();
    drop(broker);
    let disk = disk.after(PowerCut { loss: Loss::All, sector: SECTOR }, &mut StdRng::seed_from_u64(1));
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

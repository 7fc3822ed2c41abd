//! What a store holds after a crash, as its users see it: from a copy of the disk, so that looking changes nothing.

use super::{
    ledger::{Found, Ledger, QUEUES, Spot, id, once},
    life::{config, within},
};
use quebert_broker_adapter::{
    admin::{Admin as _, Enqueue, Enqueued, Position, Sweeper, Take},
    embedded::{EmbeddedBroker, OpenError, simulation::Disk},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker as _, BrokerEvent, Opening},
};
use quebert_wire::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is there, held against the ledger.
pub(crate) async fn audit(disk: &Disk, ledger: &mut Ledger) -> Result<(), OpenError> {
    let broker = EmbeddedBroker::open_on(disk.copy(), config())?;
    let mut found = dead(&broker, ledger).await;
    found.extend(waiting(&broker, ledger).await);
    ledger.judge(&found);
    pauses(&broker, ledger).await;
    repetitions(&broker, ledger).await;
    within("a stop", broker.stop()).await;
    Ok(())
}

/// All dead letters.
async fn dead(broker: &EmbeddedBroker, ledger: &mut Ledger) -> Vec<Found> {
    let mut all = Vec::new();
    for spot in Spot::all().filter(|spot| spot.source().is_none()) {
        let place = spot.place().expect("dead letters are a place");
        let told = broker.status(place.clone()).await.expect("it is open").ready;
        let mut look = Look(Vec::new());
        broker.sweep(place, None, u64::MAX, &mut look).await.expect("it is open");
        if told != look.0.len() as u64 {
            ledger.wrong.push(format!("{spot:?} is said to have {told} and has {}", look.0.len()));
        }
        all.extend(look.0.into_iter().map(|message| Found { spot, message, redelivered: None }));
    }
    all
}

/// All that can be delivered, delivered.
async fn waiting(broker: &EmbeddedBroker, ledger: &mut Ledger) -> Vec<Found> {
    let mut missing = BTreeMap::new();
    for spot in Spot::all().filter(|spot| spot.source().is_some()) {
        if let Some(depth) = broker.depth(spot.target()).await {
            missing.insert(spot, depth.ready);
        }
    }
    let mut events = broker.start();
    for spot in missing.keys() {
        broker.open(spot.source().expect("filtered"), u16::MAX);
    }
    let mut openings = BTreeMap::<Opening, Spot>::new();
    let mut all = Vec::new();
    while missing.values().any(|left| *left > 0) {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv()).await;
        let Ok(Some(event)) = next else {
            ledger.wrong.push(format!("said to wait, and not delivered: {missing:?}"));
            break;
        };
        match event {
            BrokerEvent::Opened { source, opening } => _ = openings.insert(opening, Spot::of(&source)),
            BrokerEvent::Delivered(delivery) => {
                let spot = openings[&delivery.tag.opening];
                let left = missing.get_mut(&spot).expect("only these are open");
                *left = left.saturating_sub(1);
                all.push(Found { spot, message: delivery.message, redelivered: Some(delivery.redelivered) });
            }
            BrokerEvent::SourceFailed { source, detail } => ledger.wrong.push(format!("{source:?}: {detail}")),
            _ => {}
        }
    }
    for spot in missing.keys() {
        let depth = broker.depth(spot.target()).await.expect("it was there");
        if depth.ready > 0 {
            ledger.wrong.push(format!("{spot:?} has {} more than it said", depth.ready));
        }
    }
    all
}

async fn pauses(broker: &EmbeddedBroker, ledger: &mut Ledger) {
    let paused: BTreeSet<_> = broker.paused().await.expect("it is open").into_iter().collect();
    let Ledger { paused: known, wrong, .. } = ledger;
    for (queue, possible) in known {
        let now = paused.contains(QUEUES[*queue]);
        if !possible.contains(&now) {
            wrong.push(format!("queue {queue} is paused: {now}, and that was confirmed otherwise"));
        }
        *possible = [now].into();
    }
}

/// Each idempotency key is known if and only if its message was stored, and by the right id.
async fn repetitions(broker: &EmbeddedBroker, ledger: &mut Ledger) {
    for slot in 0..ledger.once.len() {
        ledger.resolve_once(slot);
        let key = ledger.once[slot].clone();
        if key.forgotten {
            continue;
        }
        let again = |fingerprint| Enqueue {
            queue: QUEUES[0].into(),
            message: Message { id: Some("again".to_owned()), ..Message::default() },
            once: Some(once(slot, fingerprint)),
        };
        let answers = broker.enqueue(vec![again(1), again(2)]).await;
        let owner = key.owners.first().map(|owner| id(*owner));
        let right = match (&owner, &answers[..]) {
            (Some(owner), [Ok(Enqueued::Repeated { id }), Ok(Enqueued::Conflict)]) => id == owner,
            (None, [Ok(Enqueued::Stored), Ok(Enqueued::Conflict | Enqueued::UnderWay)]) => true,
            _ => false,
        };
        if !right {
            ledger.wrong.push(format!("key {slot} of {owner:?} is answered {answers:?}"));
        }
    }
}

struct Look(Vec<Message>);

impl Sweeper for Look {
    fn decide<'a>(&'a mut self, _: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        self.0.push(message.clone());
        Box::pin(async { Take::Keep })
    }
}

//! A task whose time is over is never sent, wherever it waits, and cut off where it is under way.

use crate::{
    recorder::now,
    site::{Dispatching, LONG, Site},
};
use quebert::{
    BuryReason, Envelope, Message, Settlement, Target,
    wire::{Form, HeaderValue, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Reply};
use quebert_dispatcher::{event::ExpiryStage, grid::Step};
use std::time::Duration;

/// One slot; what else is delivered waits in the dispatcher.
const ONE_SLOT: &str = "
    lanes.work.slots_max = 1
    lanes.work.window = 3";

fn message(envelope: &Envelope) -> Message {
    envelope.to_message(Form::Envelope(&JsonCodec)).unwrap()
}

/// The task `late` has expired at this stage, was kept with that reason, and its summary adds up.
async fn expired_at(stage: ExpiryStage, site: &Site, dispatching: Dispatching, attempts: &[&str]) {
    dispatching.until("expired", |seen| seen.settled_as(Settlement::Expired) == 1).await;
    assert_eq!(dispatching.seen().expired, [("late".to_owned(), stage)]);
    let sent: Vec<_> = dispatching.seen().attempts.iter().map(|attempt| attempt.task.clone()).collect();
    assert_eq!(sent, attempts);
    let dead = site.dead("work", 1).await;
    let reason = HeaderValue::Text(BuryReason::Expired.label().to_owned());
    assert_eq!(dead[0].headers["quebert-dead-reason"], reason);
    let summary = dispatching.end(site).await;
    assert_eq!(summary.settlements[&Settlement::Expired], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_expires_in_a_queue_is_never_sent() {
    let site = Site::new("expiry-queue", ONE_SLOT).await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let expires_at = now().saturating_add(Duration::from_millis(100));
    let late = Envelope { id: Some("late".into()), expires_at: Some(expires_at), ..Envelope::new(executor.url("/")) };
    site.publish("work", message(&late)).await;
    crate::site::eventually("its time is over", async || now() > expires_at).await;
    let dispatching = site.run().await;
    expired_at(ExpiryStage::Received, &site, dispatching, &[]).await;
    assert_eq!(executor.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_expires_in_the_delay_grid_is_never_sent() {
    let site = Site::new("expiry-grid", ONE_SLOT).await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let first = site.run().await;
    let now_ = now();
    let late = Envelope {
        id: Some("late".into()),
        not_before: Some(now_.saturating_add(Duration::from_millis(1900))),
        expires_at: Some(now_.saturating_add(Duration::from_millis(2500))),
        ..Envelope::new(executor.url("/"))
    };
    site.publish("work", message(&late)).await;
    first.until("it is in the grid", |seen| seen.settled_as(Settlement::Retried) == 1).await;
    first.stop().await;
    let kept = async |step: u64| site.admin.depth(&Target::Delay(Step::from_millis(step).unwrap())).await;
    let waiting = kept(1750).await.or(kept(1500).await).unwrap_or_default().ready;
    assert_eq!(waiting, 1, "it waits at the broker, and no dispatcher is there");
    crate::site::eventually("its time is over", async || Some(now()) > late.expires_at).await;
    let second = site.run().await;
    expired_at(ExpiryStage::Received, &site, second, &[]).await;
    assert_eq!(executor.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_expires_while_it_waits_for_a_slot_is_never_sent() {
    let site = Site::new("expiry-slot", ONE_SLOT).await;
    let executor = Executor::start(|_| Reply::Hang).await;
    let dispatching = site.run().await;
    let slow = Envelope { id: Some("slow".into()), ttl_ms: Some(5_000), ..Envelope::new(executor.url("/")) };
    site.publish("work", message(&slow)).await;
    executor.wait_for(1, LONG).await;
    let late = Envelope { id: Some("late".into()), ttl_ms: Some(500), ..Envelope::new(executor.url("/")) };
    site.publish("work", message(&late)).await;
    dispatching.until("expired", |seen| !seen.expired.is_empty()).await;
    assert_eq!(dispatching.seen().expired, [("late".to_owned(), ExpiryStage::BeforeDispatch)]);
    assert_eq!(dispatching.seen().sending, 1, "it expires when its time is over, not when the slot is free");
    dispatching.until("both over", |seen| seen.settled_as(Settlement::Expired) == 2).await;
    assert_eq!(executor.counts().requests, 1);
    site.dead("work", 2).await;
    dispatching.end(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_expires_in_mid_request_is_cut_off() {
    let site = Site::new("expiry-request", ONE_SLOT).await;
    let executor = Executor::start(|_| Reply::Hang).await;
    let dispatching = site.run().await;
    let late = Envelope { id: Some("late".into()), ttl_ms: Some(1_000), ..Envelope::new(executor.url("/")) };
    site.publish("work", message(&late)).await;
    executor.wait_for(1, LONG).await;
    assert_eq!(executor.counts().open, 1);
    // Well before the attempt's own limit, which is 30 s.
    executor.wait_until(Duration::from_secs(15), |counts| counts.open == 0).await;
    expired_at(ExpiryStage::InFlight, &site, dispatching, &["late"]).await;
    assert_eq!(executor.counts().requests, 1);
}

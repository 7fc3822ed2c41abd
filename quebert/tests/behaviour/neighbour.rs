//! A destination that never answers is no bad neighbour.

use crate::site::{Site, eventually};
use quebert::{
    Envelope, Message, Settlement,
    wire::{Form, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Keep, Reply};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

const HOSTS: usize = 100;
/// How long the hosts take to answer, if they do: long enough for the slots to be the limit, and not the machine.
const ANSWER: Duration = Duration::from_millis(50);

/// Tasks of each host: a short form, and the full one with `QUEBERT_LONG=1` in the environment.
fn tasks_each() -> usize {
    if std::env::var_os("QUEBERT_LONG").is_some() { 100 } else { 30 }
}

/// One lane of the shipped defaults: 32 slots, as many as one destination may have.
const LANE: &str = "medium";

fn task(url: String) -> Message {
    Envelope::new(url).to_message(Form::Envelope(&JsonCodec)).unwrap()
}

/// On this address, once whoever was there before is gone.
async fn host(address: SocketAddr, reply: Reply) -> Executor {
    eventually("its port is free", async || TcpStream::connect(address).await.is_err()).await;
    Executor::builder().address(address).keep(Keep::Ids).start(move |_| reply.clone()).await
}

/// How long the tasks of the hosts that answer take, of which there is one less than `HOSTS`. They come in turn with
/// those of the silent one, if it is there.
async fn time_taken(site: &Site, hosts: &[Executor], silent: Option<SocketAddr>) -> Duration {
    let mute = match silent {
        Some(address) => Some(host(address, Reply::Hang).await),
        None => None,
    };
    let round: Vec<_> = hosts.iter().chain(&mute).map(|host| host.url("/")).collect();
    site.publish_all(LANE, (0..tasks_each()).flat_map(|_| round.iter().cloned().map(task))).await;
    let before = hosts.iter().map(|host| host.counts().requests).sum::<usize>();

    let dispatching = site.run().await;
    let started = Instant::now();
    let others = ((HOSTS - 1) * tasks_each()) as u64;
    dispatching.until("the others' tasks", |seen| seen.settled_as(Settlement::Succeeded) == others).await;
    let taken = started.elapsed();
    let after = hosts.iter().map(|host| host.counts().requests).sum::<usize>();
    // More of them only if an overloaded broker has ended the session by itself.
    let disturbed = !dispatching.seen().disconnects.is_empty();
    let requests = (after - before) as u64;
    assert!(requests == others || (disturbed && requests > others), "{requests} requests: {}", dispatching.brief());

    if let Some(address) = silent {
        // Its tasks are not lost: once it answers, they are done.
        drop(mute);
        let recovered = host(address, Reply::status(200)).await;
        dispatching.until_over((HOSTS * tasks_each()) as u64).await;
        assert!(recovered.counts().requests >= tasks_each());
    }
    dispatching.end(site).await;
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_never_answers_does_not_slow_down_the_others() {
    let site = Site::alone("neighbour", "").await;
    let mut hosts = Vec::new();
    for n in 1..HOSTS {
        let ip = Ipv4Addr::new(127, 0, 1, u8::try_from(n).unwrap());
        hosts.push(host((ip, 0).into(), Reply::status(200).after(ANSWER)).await);
    }
    let silent = host((Ipv4Addr::new(127, 0, 1, 200), 0).into(), Reply::Hang).await.address();
    // The first run makes the delay queues, and does not count.
    time_taken(&site, &hosts, Some(silent)).await;
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let without = time_taken(&site, &hosts, None).await;
        let with = time_taken(&site, &hosts, Some(silent)).await;
        println!("{without:?} without it, {with:?} with it");
        ratios.push(without.as_secs_f64() / with.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[1] >= 0.9, "speed with it, by the speed without it: {ratios:.2?}");
}

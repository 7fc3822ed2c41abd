//! Producers that each enqueue the next task as soon as the last one is confirmed.

use crate::{
    Fault, Options,
    broker::{self, Folder},
    probe::{Times, fsync},
};
use quebert_broker_adapter::testing::PrivateRabbit;
use quebert_dispatcher::ports::broker::Broker;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Confirmed enqueues of one run.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    pub(crate) times: Times,
}

pub(crate) async fn measure(options: &Options) -> Result<(), Fault> {
    let Options { producers, seconds, rounds, folder, .. } = options;
    println!("\nConfirmed enqueues of 300 bytes, {producers} producers, {seconds} s a run, through the port");
    let node = if options.no_rabbit { None } else { Some(PrivateRabbit::start().await?) };
    let length = Duration::from_secs(*seconds);
    let mut ratios = Vec::new();
    for round in 1..=*rounds {
        let store = Folder::new(folder)?;
        let before = fsync(&store.0)?;
        let embedded = broker::embedded(&store.0)?;
        broker::connected(&embedded).await?;
        let embedded: Arc<dyn Broker> = Arc::new(embedded);
        let run = enqueue(&embedded, *producers, length, 0).await?;
        embedded.stop().await;
        let after = fsync(&store.0)?;
        let (rate, times) = (run.per_second, run.times);
        println!("{round}  embedded  {rate:>8.0}/s, confirmed within {times}");
        println!("   fsync of 4 KiB: before {before}; after {after}");
        if let Some(node) = &node {
            let rabbit = broker::rabbit(node).await?;
            let run = enqueue(&rabbit, *producers, length, 0).await?;
            rabbit.stop().await;
            println!("{round}  rabbitmq  {:>8.0}/s, confirmed within {}", run.per_second, run.times);
            ratios.push(rate / run.per_second);
        }
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("   embedded is {median:.2} times RabbitMQ (median of the rounds)");
    }
    Ok(())
}

/// Enqueues for this long, after a tenth of it to warm up. Numbers go on from `first`.
pub(crate) async fn enqueue(
    broker: &Arc<dyn Broker>,
    producers: usize,
    length: Duration,
    first: u64,
) -> Result<Run, Fault> {
    let next = Arc::new(AtomicU64::new(first));
    let start = Instant::now() + length / 10;
    let end = start + length;
    let mut running = JoinSet::new();
    for _ in 0..producers {
        let (broker, next) = (broker.clone(), next.clone());
        running.spawn(async move {
            let mut times = Vec::new();
            loop {
                let begin = Instant::now();
                if begin >= end {
                    return Ok::<_, Fault>(times);
                }
                let n = next.fetch_add(1, Ordering::Relaxed);
                broker::publish(broker.as_ref(), n, "http://127.0.0.1:9/task").await?;
                let now = Instant::now();
                if begin >= start && now < end {
                    times.push(now - begin);
                }
            }
        });
    }
    let mut times = Vec::new();
    while let Some(producer) = running.join_next().await {
        times.extend(producer??);
    }
    Ok(Run { per_second: times.len() as f64 / length.as_secs_f64(), times: Times::new(times) })
}

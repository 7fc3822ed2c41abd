//! Never early, and hardly late: ETAs and backoff through the delay grid.

use crate::{recorder::now, site::Site};
use quebert::{
    Envelope, Settlement, Timestamp,
    wire::{Form, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Keep, Reply};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeMap, time::Duration};

/// Tasks a second.
const RATE: u64 = 200;
/// Far beyond what is seen on a machine with nothing else to do: a millisecond, and a tenth of a second. The median says
/// whether timers and hops are right; what a burst of other work on the machine delays is in the tail.
const LATE_MEDIAN_MAX: Duration = Duration::from_millis(500);
const LATE_P99_MAX: Duration = Duration::from_secs(6);

/// Seconds of arrivals, and the longest delay: a short form, and the full one with `QUEBERT_LONG=1` in the environment.
fn extent() -> (u64, Duration) {
    if std::env::var_os("QUEBERT_LONG").is_some() {
        (120, Duration::from_secs(60))
    } else {
        (8, Duration::from_secs(12))
    }
}

fn quantile(sorted: &[Duration], q: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * q).ceil() as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attempt_is_early_and_most_are_on_time() {
    let (seconds, longest) = extent();
    let policy = format!(
        "lanes.work.slots_max = 64
         retry.curve = \"schedule\"
         retry.schedule = [\"{0}s\"]
         retry.backoff_max = \"{0}s\"
         retry.jitter = \"full\"",
        longest.as_secs()
    );
    let site = Site::alone("lateness", &policy).await;
    // One task in four fails once.
    let executor = Executor::builder()
        .keep(Keep::Ids)
        .start(|request| {
            let fails = request.target == "/fails" && request.header("quebert-attempt") == "1";
            Reply::status(if fails { 500 } else { 200 })
        })
        .await;
    let dispatching = site.run_settled().await;

    let mut rng = StdRng::seed_from_u64(11);
    let mut etas: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut arrivals = tokio::time::interval(Duration::from_millis(100));
    for tenth in 0..seconds * 10 {
        arrivals.tick().await;
        let tasks = (0..RATE / 10).map(|n| {
            let id = format!("t{tenth}-{n}");
            let eta = now().saturating_add(longest.mul_f64(rng.random_range(0.0..1.0)));
            etas.insert(id.clone(), eta);
            let url = executor.url(if n % 4 == 0 { "/fails" } else { "/" });
            let envelope = Envelope { id: Some(id), not_before: Some(eta), ..Envelope::new(url) };
            envelope.to_message(Form::Envelope(&JsonCodec)).unwrap()
        });
        site.publish_all("work", tasks.collect::<Vec<_>>()).await;
    }
    let n = seconds * RATE;
    dispatching.until(&format!("{n} successes"), |seen| seen.settled_as(Settlement::Succeeded) == n).await;

    // An overloaded broker ends sessions by itself. Some tasks then have two copies, whose retries can't be told apart.
    let disturbed = !dispatching.seen().disconnects.is_empty();
    let mut late = Vec::new();
    for attempt in &dispatching.seen().attempts {
        if disturbed && attempt.number > 1 {
            continue;
        }
        let due = if attempt.number == 1 { etas[&attempt.task] } else { attempt.due.unwrap() };
        assert!(attempt.at >= due, "early: {attempt:?}, due at {due}; {}", dispatching.brief());
        late.push(attempt.at.since(due));
    }
    assert!(late.len() as u64 >= if disturbed { n } else { n + n / 4 }, "{} attempts", late.len());
    late.sort_unstable();
    let (median, p99, max) = (quantile(&late, 0.5), quantile(&late, 0.99), late[late.len() - 1]);
    println!(
        "{n} tasks, delays up to {longest:?}: late by {median:?} at the median, {p99:?} at p99, {max:?} at most; {}",
        dispatching.brief()
    );
    assert!(median < LATE_MEDIAN_MAX && p99 < LATE_P99_MAX, "late by {median:?} at the median, {p99:?} at p99");
    // Whether every ack has arrived is not asked here: what the broker's channel has not passed on to a busy queue when it
    // is closed comes again, and that is another promise's affair.
    dispatching.stop().await;
}

//! `quebert queues`, `pause`, `resume` and `purge`. What a pause does is the dispatcher's to say.

use super::{
    Failure,
    client::{ApiArgs, Call, Client, escaped},
    table::{self, Set, age, number, plain},
    way::{Direct, Way},
};
use crate::{
    api::types::{PauseAnswer, PurgeAnswer, QueueView, Queues},
    intake::now,
};
use clap::Args;
use quebert_broker_adapter::admin::{AdminError, Place, PlaceStatus};
use quebert_dispatcher::config::LaneConfig;
use serde::Serialize;
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Flags of `quebert queues`.
#[derive(Debug, Args)]
pub(super) struct QueuesArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Only this one, in full
    queue: Option<String>,
    /// One JSON object a queue instead of a table
    #[arg(long)]
    json: bool,
}

/// Flags of `quebert pause` and `quebert resume`.
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Which
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<String>,
    /// One JSON object a queue
    #[arg(long)]
    json: bool,
}

/// Flags of `quebert purge`.
#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Which
    queue: String,
    /// Tell how many would be removed, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn queues(way: Way, args: &QueuesArgs) -> Result<(), Failure> {
    let direct = match way {
        Way::Api(client) => return through_api(&client, args).await,
        Way::Broker(direct) => direct,
    };
    let rows = at_broker(&direct, args.queue.as_deref()).await;
    direct.close().await;
    let rows = rows?;
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(rows.iter().try_for_each(|row| table::json_line(&mut out, row))?);
    }
    let columns = [
        ("QUEUE", Set::Left),
        ("READY", Set::Right),
        ("DELAYED", Set::Right),
        ("UNSETTLED", Set::Right),
        ("DEAD", Set::Right),
        ("OLDEST", Set::Right),
        ("CONSUMERS", Set::Right),
        ("BROKER QUEUE", Set::Cut),
    ];
    let cells = |row: &AtBroker| {
        vec![
            plain(&row.name),
            number(row.ready),
            number(row.delayed),
            number(row.unsettled),
            number(row.dead),
            span(row.oldest_age_ms),
            number(row.consumers),
            plain(&row.broker_queue),
        ]
    };
    Ok(table::table(&mut out, &columns, &rows.iter().map(cells).collect::<Vec<_>>())?)
}

async fn through_api(client: &Client, args: &QueuesArgs) -> Result<(), Failure> {
    if let Some(queue) = &args.queue {
        let view: QueueView = client.ask(Call::get(format!("/v1/queues/{}", escaped(queue)))).await?;
        return Ok(table::print(args.json, &view, in_full)?);
    }
    let all: Queues = client.ask(Call::get("/v1/queues")).await?;
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(all.queues.iter().try_for_each(|view| table::json_line(&mut out, view))?);
    }
    Ok(list(&mut out, &all)?)
}

fn list(out: &mut impl io::Write, all: &Queues) -> io::Result<()> {
    let columns = [
        ("QUEUE", Set::Left),
        ("STATE", Set::Left),
        ("READY", Set::Right),
        ("DELAYED", Set::Right),
        ("IN FLIGHT", Set::Right),
        ("UNSETTLED", Set::Right),
        ("DEAD", Set::Right),
        ("OLDEST", Set::Right),
        ("DONE/S", Set::Right),
        ("FAILED/S", Set::Right),
        ("P99", Set::Right),
    ];
    let cells = |view: &QueueView| {
        vec![
            plain(&view.name),
            state(view).to_owned(),
            number(view.ready),
            number(view.delayed),
            format!("{}/{}", view.in_flight, view.limits.slots_max),
            number(view.unsettled),
            number(view.dead),
            span(view.oldest_age_ms),
            rate(view.recent.succeeded_per_s),
            rate(view.recent.failed_per_s),
            millis(view.recent.attempt_p99_ms),
        ]
    };
    table::table(out, &columns, &all.queues.iter().map(cells).collect::<Vec<_>>())
}

fn in_full(out: &mut impl io::Write, view: &QueueView) -> io::Result<()> {
    let limits = &view.limits;
    let limit = |n: Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let settled: Vec<_> = view.settled.iter().map(|(how, n)| format!("{n} {}", plain(how))).collect();
    let lines = [
        ("queue", plain(&view.name)),
        ("broker queue", plain(&view.broker_queue)),
        ("priority", view.priority.to_string()),
        ("state", format!("{} (a pause is the {}'s)", state(view), plain(&view.pause_scope))),
        ("ready", number(view.ready)),
        ("ready bytes", number(view.ready_bytes)),
        ("oldest", span(view.oldest_age_ms)),
        ("delayed", number(view.delayed)),
        ("unsettled", number(view.unsettled)),
        ("dead", number(view.dead)),
        ("consumers", number(view.consumers)),
        ("in flight", format!("{} of {}", view.in_flight, limits.slots_max)),
        ("buffered", view.buffered.to_string()),
        ("attempts a second", rate(view.recent.attempts_per_s)),
        ("done a second", rate(view.recent.succeeded_per_s)),
        ("failed a second", rate(view.recent.failed_per_s)),
        ("attempt p50", millis(view.recent.attempt_p50_ms)),
        ("attempt p99", millis(view.recent.attempt_p99_ms)),
        ("delivered", view.delivered.to_string()),
        ("settled", if settled.is_empty() { "0".to_owned() } else { settled.join(", ") }),
        ("slots of its own", limits.slots_own.to_string()),
        ("window", limits.window.to_string()),
        ("attempts at most", limit(limits.max_attempts.map(u64::from))),
        ("attempt timeout", age(Duration::from_millis(limits.attempt_timeout_ms))),
        ("time to live", limits.ttl_default_ms.map_or_else(|| "none".to_owned(), |ms| span(Some(ms)))),
        ("messages at most", limit(limits.messages_max)),
    ];
    lines.iter().try_for_each(|(name, value)| writeln!(out, "{name:<18}  {value}"))
}

fn state(view: &QueueView) -> &'static str {
    match (view.paused, view.open) {
        (true, _) => "paused",
        (false, true) => "open",
        (false, false) => "closed",
    }
}

/// What the broker itself can tell of a queue.
#[derive(Debug, PartialEq, Serialize)]
struct AtBroker {
    name: String,
    broker_queue: String,
    ready: Option<u64>,
    unsettled: Option<u64>,
    delayed: Option<u64>,
    dead: Option<u64>,
    ready_bytes: Option<u64>,
    oldest_age_ms: Option<u64>,
    consumers: Option<u64>,
}

async fn at_broker(direct: &Direct, queue: Option<&str>) -> Result<Vec<AtBroker>, Failure> {
    let lanes = match queue {
        Some(name) => std::slice::from_ref(direct.lane(name)?),
        None => &direct.config.core.lanes[..],
    };
    let mut rows = Vec::new();
    for lane in lanes {
        let work = there(direct.admin.status(Place::Queue(lane.queue.clone())).await)?;
        let dead = there(direct.admin.status(Place::Dead(lane.queue.clone())).await)?;
        rows.push(AtBroker::of(lane, work, dead));
    }
    Ok(rows)
}

/// A queue that was never declared has nothing to tell, which is no failure.
fn there(status: Result<PlaceStatus, AdminError>) -> Result<Option<PlaceStatus>, Failure> {
    match status {
        Ok(status) => Ok(Some(status)),
        Err(AdminError::NoSuchPlace(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

impl AtBroker {
    fn of(lane: &LaneConfig, work: Option<PlaceStatus>, dead: Option<PlaceStatus>) -> Self {
        let age = |at| u64::try_from(now().since(at).as_millis()).unwrap_or(u64::MAX);
        Self {
            name: lane.name.to_string(),
            broker_queue: lane.queue.to_string(),
            ready: work.map(|status| status.ready),
            unsettled: work.and_then(|status| status.unsettled),
            delayed: work.and_then(|status| status.delayed),
            dead: dead.map(|status| status.ready),
            ready_bytes: work.and_then(|status| status.bytes),
            oldest_age_ms: work.and_then(|status| status.oldest).map(age),
            consumers: work.and_then(|status| status.consumers),
        }
    }
}

pub(super) async fn pause(client: &Client, args: &PauseArgs, pause: bool) -> Result<(), Failure> {
    let verb = if pause { "pause" } else { "resume" };
    for queue in &args.queues {
        let answer: PauseAnswer = client.ask(Call::post(format!("/v1/queues/{}/{verb}", escaped(queue)))).await?;
        let mut out = io::stdout().lock();
        if args.json {
            table::json_line(&mut out, &answer)?;
            continue;
        }
        let queue = plain(&answer.queue);
        match (answer.paused, &*answer.scope) {
            (false, _) => writeln!(out, "{queue} goes on")?,
            (true, "broker") => writeln!(out, "{queue} is paused until it is resumed")?,
            (true, _) => writeln!(out, "{queue} is paused in this dispatcher, until it is resumed or ends")?,
        }
    }
    Ok(())
}

/// Refuses a purge that was not confirmed, before anything is asked for.
pub(super) fn confirmed(args: &PurgeArgs) -> Result<(), Failure> {
    if args.dry_run || args.yes {
        return Ok(());
    }
    Err(Failure::Usage("purge removes tasks for good: say --yes, or look first with --dry-run".to_owned()))
}

pub(super) async fn purge(way: Way, args: &PurgeArgs) -> Result<(), Failure> {
    let answer = match way {
        Way::Api(client) => {
            let call = Call::post(format!("/v1/queues/{}/purge", escaped(&args.queue)));
            client.ask(call.query([("dry_run", args.dry_run.then(|| "true".to_owned()))])).await?
        }
        Way::Broker(direct) => {
            let purged = purge_at_broker(&direct, args).await;
            direct.close().await;
            purged?
        }
    };
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(table::json_line(&mut out, &answer)?);
    }
    let PurgeAnswer { queue, purged, dry_run } = answer;
    let what = if dry_run { "would be removed" } else { "removed" };
    Ok(writeln!(out, "{purged} tasks of {} {what}", plain(&queue))?)
}

async fn purge_at_broker(direct: &Direct, args: &PurgeArgs) -> Result<PurgeAnswer, Failure> {
    let place = Place::Queue(direct.lane(&args.queue)?.queue.clone());
    let purged = if args.dry_run { direct.admin.status(place).await?.ready } else { direct.admin.purge(place).await? };
    Ok(PurgeAnswer { queue: args.queue.clone(), purged, dry_run: args.dry_run })
}

fn span(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| age(Duration::from_millis(ms)))
}

fn millis(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms < 10.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.0}s", ms / 1000.0),
        None => "-".to_owned(),
    }
}

fn rate(per_s: f64) -> String {
    if per_s == 0.0 || per_s >= 10.0 { format!("{per_s:.0}") } else { format!("{per_s:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{QueueLimits, Recent};
    use insta::assert_snapshot;

    fn view(name: &str) -> QueueView {
        let limits = QueueLimits {
            slots_max: 20,
            slots_own: 5,
            window: 24,
            max_attempts: Some(20),
            attempt_timeout_ms: 30_000,
            ttl_default_ms: None,
            messages_max: Some(10_000_000),
        };
        let recent = Recent {
            attempts_per_s: 123.4,
            succeeded_per_s: 120.04,
            failed_per_s: 3.36,
            attempt_p50_ms: Some(4.2),
            attempt_p99_ms: Some(181.3),
            succeeded_by_s: vec![120; 60],
        };
        QueueView {
            name: name.into(),
            broker_queue: format!("quebert.{name}"),
            priority: 2,
            paused: false,
            pause_scope: "broker".into(),
            open: true,
            ready: Some(12_034),
            unsettled: Some(24),
            delayed: Some(3),
            dead: Some(0),
            ready_bytes: Some(3_610_200),
            oldest_age_ms: Some(200_000),
            consumers: Some(1),
            in_flight: 20,
            buffered: 4,
            limits,
            recent,
            settled: [("succeeded".to_owned(), 900), ("retried".to_owned(), 40)].into(),
            delivered: 964,
        }
    }

    #[test]
    fn queues_stand_in_a_table() {
        let quiet = QueueView {
            paused: true,
            ready: None,
            delayed: None,
            unsettled: None,
            oldest_age_ms: None,
            in_flight: 0,
            recent: Recent::default(),
            ..view("low")
        };
        let all = Queues { engine: "rabbitmq".into(), queues: vec![view("high"), quiet] };
        let mut out = Vec::new();
        list(&mut out, &all).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        QUEUE  STATE   READY  DELAYED  IN FLIGHT  UNSETTLED  DEAD  OLDEST  DONE/S  FAILED/S    P99
        high   open    12034        3      20/20         24     0   3m20s     120       3.4  181ms
        low    paused      -        -       0/20          -     0       -       0         0      -
        ");
    }

    #[test]
    fn one_queue_is_told_in_full() {
        let mut out = Vec::new();
        in_full(&mut out, &view("high")).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        queue               high
        broker queue        quebert.high
        priority            2
        state               open (a pause is the broker's)
        ready               12034
        ready bytes         3610200
        oldest              3m20s
        delayed             3
        unsettled           24
        dead                0
        consumers           1
        in flight           20 of 20
        buffered            4
        attempts a second   123
        done a second       120
        failed a second     3.4
        attempt p50         4.2ms
        attempt p99         181ms
        delivered           964
        settled             40 retried, 900 succeeded
        slots of its own    5
        window              24
        attempts at most    20
        attempt timeout     30s
        time to live        none
        messages at most    10000000
        ");
    }
}

//! What the demo runs on: a config, a folder, and executors as they are in the wild.

use super::{folder::Folder, view::ExecutorRow};
use crate::{
    api::types::DestinationView,
    config::{Config, Problems},
    sample::{Executor, Manner, State},
};
use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

/// Quick retries and few attempts, so that a task's whole life fits into a short look.
const CONFIG: &str = r#"
[retry]
backoff_min = "500ms"
backoff_max = "4s"
max_attempts = 6

[lanes.high]
priority = 2
slots_max = 6

[lanes.medium]
priority = 1
slots_max = 6

[lanes.low]
slots_max = 4

[pool]
slots = 10

[destinations]
window_share = 100

[limits]
bury_expired = false

[http.guard]
enabled = false

[drain]
grace = "5s"
"#;

/// The same run for everybody, as far as a seed decides it.
const SEED: u64 = 17;

/// The demo's config, with its broker in `folder`, and the API where the user wants it.
pub(super) fn config(folder: &Folder, api: Option<SocketAddr>) -> Result<Config, Problems> {
    let url = toml::Value::from(format!("embedded:{}", folder.path().join("data").display()));
    let listen = api.map(|address| format!("[api]\nlisten = \"{address}\"\n")).unwrap_or_default();
    Config::from_toml(&format!("[broker]\nurl = {url}\n{listen}{CONFIG}"))
}

/// The executors.
pub(super) struct Fleet(Vec<Member>);

struct Member {
    name: &'static str,
    manner: &'static str,
    executor: Executor,
    up: bool,
}

impl Fleet {
    pub(super) async fn start() -> io::Result<Self> {
        let (up, down) = (Duration::from_secs(12), Duration::from_secs(5));
        let mut members = Vec::new();
        for (name, words, manner) in [
            ("fast", "5 to 25 ms", Manner::Fast),
            ("flaky", "3 in 10 fail", Manner::Flaky { percent: 30 }),
            ("slow", "0.5 to 1.5 s", Manner::Slow { ms: 500..=1500 }),
            ("limited", "429 above 3/s", Manner::Limited { burst: 2, per_s: 3 }),
            ("unsteady", "5 s down in 17", Manner::Outages { up, down }),
        ] {
            let executor = Executor::start(manner, SEED).await?;
            members.push(Member { name, manner: words, executor, up: true });
        }
        Ok(Self(members))
    }

    /// `http://host:port` of each, by name.
    pub(super) fn origins(&self) -> BTreeMap<&'static str, String> {
        self.0.iter().map(|member| (member.name, member.executor.origin())).collect()
    }

    /// Those that went down or came back since this was last asked, with whether they are up.
    pub(super) fn changes(&mut self) -> Vec<(&'static str, bool)> {
        let changed = |member: &mut Member| {
            let up = member.executor.state() == State::Up;
            (std::mem::replace(&mut member.up, up) != up).then_some((member.name, up))
        };
        self.0.iter_mut().filter_map(changed).collect()
    }

    /// Each at a glance, with what the dispatcher knows of it.
    pub(super) fn rows(&self, destinations: &[DestinationView]) -> Vec<ExecutorRow> {
        let row = |member: &Member| {
            let row = ExecutorRow { name: member.name, manner: member.manner, up: member.up, ..ExecutorRow::default() };
            let origin = member.executor.origin();
            let Some(seen) = destinations.iter().find(|seen| seen.origin == origin) else { return row };
            let attempts: u64 = seen.outcomes.values().sum();
            ExecutorRow {
                in_flight: seen.in_flight,
                attempts,
                failed: attempts - seen.outcomes.get("2xx").copied().unwrap_or(0).min(attempts),
                recent: seen.recent.clone(),
                ..row
            }
        };
        self.0.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_one_that_the_program_takes_and_its_api_stays_on_this_machine() {
        let folder = Folder::new().unwrap();
        let of = |api: Option<&str>| config(&folder, api.map(|address| address.parse().unwrap()));
        let checked = of(Some("127.0.0.1:0")).unwrap();
        assert!(checked.broker.embedded.is_some_and(|path| path.starts_with(folder.path())));
        assert_eq!(checked.core.lanes.len(), 3);
        assert!(of(None).unwrap().api.listen.is_some_and(|address| address.ip().is_loopback()));
        assert!(of(Some("0.0.0.0:9460")).is_err(), "anybody could do anything");
    }
}

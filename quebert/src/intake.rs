//! Where tasks are taken in, whether they come over the API or the command line: read, checked, given a lane and an id,
//! and made into the message to publish. It publishes nothing.

use crate::config::{Config, Current};
use bytes::Bytes;
use quebert_broker_adapter::http::AddressGuard;
use quebert_wire::{Codec as _, Envelope, JsonCodec, Message, TaskId, Timestamp, Violation, ViolationKind};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Takes tasks in.
#[derive(Debug, Clone)]
pub struct Desk {
    core: Current,
    guard: Option<AddressGuard>,
    doors: Vec<Door>,
    forced: Option<Door>,
}

/// A lane, and the queue behind it.
#[derive(Debug, Clone)]
struct Door {
    lane: Arc<str>,
    queue: Arc<str>,
}

/// A task that is ready to be published.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The task's id: the envelope's, or a new UUIDv7.
    pub id: String,
    /// The lane it goes to.
    pub lane: Arc<str>,
    /// The broker's name of that lane's queue.
    pub queue: Arc<str>,
    /// What to publish. Its body is the envelope, with the id in it.
    pub message: Message,
}

/// Why something is not taken in. No text of it tells a value, but for the name of a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no JSON.
    #[error("{0}")]
    NotJson(String),
    /// It is JSON, and no task: all that is wrong with it.
    #[error("{}", sentences(.0))]
    NotATask(Vec<Violation>),
    /// There is no such lane.
    #[error("field \"queue\": no such lane; there are {lanes}")]
    NoSuchLane {
        /// The lanes that there are, separated by commas.
        lanes: String,
    },
}

impl Desk {
    /// Takes tasks in for the lanes of a config, within its limits.
    pub fn new(config: &Config) -> Self {
        let door =
            |lane: &quebert_dispatcher::config::LaneConfig| Door { lane: lane.name.clone(), queue: lane.queue.clone() };
        Self {
            core: Current::new(config.core.clone()),
            guard: None,
            doors: config.core.lanes.iter().map(door).collect(),
            forced: None,
        }
    }

    /// Sends all tasks to one lane, whichever they name.
    ///
    /// # Errors
    /// When there is no such lane.
    pub fn into_lane(self, lane: &str) -> Result<Self, Refusal> {
        let forced = Some(self.door(lane)?.clone());
        Ok(Self { forced, ..self })
    }

    /// Refuses tasks whose URL says an address that `guard` forbids: for whoever dispatches what it takes in. Host names
    /// are not looked up here; each attempt does that, and is checked again.
    #[must_use]
    pub fn guarded(self, guard: AddressGuard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Goes by limits that a reload can change, instead of those that it was made with.
    #[must_use]
    pub fn following(self, core: Current) -> Self {
        Self { core, ..self }
    }

    /// Reads an envelope in JSON and prepares it. The task's body is never copied on the way.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(&self, json: &Bytes) -> Result<Intake, Refusal> {
        match JsonCodec.decode(json) {
            Ok(envelope) => self.prepare(envelope),
            Err(_) => Err(unreadable(json)),
        }
    }

    /// Checks a task and makes the message of it. The id is fixed here, so that whoever is told of a failure can try
    /// again without making a second task.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn prepare(&self, mut envelope: Envelope) -> Result<Intake, Refusal> {
        envelope.check(&self.core.now().limits).map_err(Refusal::NotATask)?;
        self.check_address(&envelope.url)?;
        let door = match (&self.forced, envelope.queue.as_deref()) {
            (Some(door), _) => door,
            (None, Some(lane)) => self.door(lane)?,
            (None, None) => self.doors.last().expect("a checked config has a lane"),
        };
        let now = now();
        let id = envelope.id.get_or_insert_with(|| TaskId::v7(now, rand::random()).as_str().to_owned()).clone();
        envelope.created_at.get_or_insert(now);
        let body = JsonCodec.encode(&envelope).expect("a checked envelope is plain data");
        let message = Message {
            id: Some(id.clone()),
            content_type: Some("application/json".to_owned()),
            timestamp: Some(now),
            body,
            ..Message::default()
        };
        Ok(Intake { id, lane: door.lane.clone(), queue: door.queue.clone(), message })
    }

    fn door(&self, lane: &str) -> Result<&Door, Refusal> {
        let lanes = || self.doors.iter().map(|door| &*door.lane).collect::<Vec<_>>().join(", ");
        self.doors.iter().find(|door| &*door.lane == lane).ok_or_else(|| Refusal::NoSuchLane { lanes: lanes() })
    }

    fn check_address(&self, url: &str) -> Result<(), Refusal> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let Some(address) = url.parse::<http::Uri>().ok().as_ref().and_then(written_address) else { return Ok(()) };
        guard.check(address).map_err(|e| {
            let message = format!("{e}; http.guard.allow in the config can allow it");
            Refusal::NotATask(vec![Violation { field: "url".to_owned(), message, kind: ViolationKind::NotAllowed }])
        })
    }
}

/// The address that a URL says without any lookup.
fn written_address(url: &http::Uri) -> Option<IpAddr> {
    let host = url.host()?;
    // RFC 6761, section 6.3: these names mean loopback everywhere.
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Why it can't be read. It is read again, since a codec tells its error as text.
fn unreadable(json: &[u8]) -> Refusal {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(json) {
        let (what, place) = parts(&error);
        return Refusal::NotJson(what + &place);
    }
    let error = serde_json::from_slice::<Envelope>(json).err();
    let (what, place) = error.as_ref().map(parts).unwrap_or_default();
    let (field, what) = match what.strip_prefix("field \"").and_then(|rest| rest.split_once("\": ")) {
        Some(parts) => parts,
        // serde quotes a text that comes instead of a map, and it may be a secret.
        None => ("", what.find("expected a task").map_or(&*what, |at| &what[at..])),
    };
    let violation =
        Violation { field: field.to_owned(), message: format!("{what}{place}"), kind: ViolationKind::Malformed };
    Refusal::NotATask(vec![violation])
}

/// The message, and the place in words.
fn parts(error: &serde_json::Error) -> (String, String) {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    // In NDJSON each line is a document of its own, where "line 1" would mislead beside the number of the line.
    let place = match (error.line(), error.column()) {
        (_, 0) => String::new(),
        (0 | 1, column) => format!(" (column {column})"),
        (line, column) => format!(" (line {line}, column {column})"),
    };
    (what.to_owned(), place)
}

/// One sentence for each; one that is about the whole task names no field.
fn sentences(violations: &[Violation]) -> String {
    let sentence = |v: &Violation| if v.field.is_empty() { v.message.clone() } else { v.to_string() };
    violations.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

/// This machine's wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use insta::assert_snapshot;

    fn desk() -> Desk {
        Desk::new(&Config::load(&Sources::default()).unwrap())
    }

    fn read(desk: &Desk, text: &str) -> Result<Intake, Refusal> {
        desk.read(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_is_refused_is_told_with_the_field() {
        let texts = [
            r#"{"url": "http://host/", "delay_ms": -1}"#,
            r#"{"url": "ftp://host/"}"#,
            r#"{"url": "http://host/", "methud": "GET", "queue": "high"}"#,
            r#"{"url": "http://host/", "queue": "urgent"}"#,
            r#"{"url": "http://host/", "headers": {"X": "a\r\nB: c"}}"#,
            r#"{"url": "http://host/", "delay_ms": 1, "not_before": 0, "ttl_ms": 0}"#,
            r#"{"url": "http://127.0.0.1:8080/"}"#,
            r#"{"url": "http://[::ffff:10.0.0.1]/"}"#,
            r#"{"url": "http://LocalHost/"}"#,
            r#"{"url": "http://host/""#,
            "{\"url\":\n  \"http://host/\"\n  \"id\": 1}",
            r#"{"url": "http://host/"} {}"#,
            "\"secret\"",
            "[]",
            "{}",
            "",
        ];
        let desk = desk().guarded(AddressGuard::default());
        let told: Vec<_> =
            texts.iter().map(|t| read(&desk, t).map_or_else(|e| e.to_string(), |_| panic!("{t} was taken"))).collect();
        assert_snapshot!(told.join("\n"), @r#"
        field "delay_ms": invalid value: integer `-1`, expected a whole number from 0 (column 38)
        field "url": the scheme must be http or https
        field "methud": is not known
        field "queue": no such lane; there are high, medium, low
        field "headers.X": has a control character
        field "not_before": only one of "not_before" and "delay_ms" is allowed; field "ttl_ms": 0, at least 1 is needed
        field "url": address 127.0.0.1 is forbidden (loopback); http.guard.allow in the config can allow it
        field "url": address ::ffff:10.0.0.1 is forbidden (private); http.guard.allow in the config can allow it
        field "url": address 127.0.0.1 is forbidden (loopback); http.guard.allow in the config can allow it
        EOF while parsing an object (column 22)
        expected `,` or `}` (line 3, column 3)
        trailing characters (column 25)
        expected a task envelope: a map with a "url" (column 8)
        expected a task envelope: a map with a "url"
        field "url": missing (column 2)
        EOF while parsing a value
        "#);
    }

    #[test]
    fn syntax_is_told_from_what_makes_no_task() {
        let desk = desk();
        assert!(matches!(read(&desk, "{").unwrap_err(), Refusal::NotJson(_)));
        let Refusal::NotATask(wrong) = read(&desk, r#"{"url": 5}"#).unwrap_err() else { panic!("it is JSON") };
        assert_eq!(wrong[0].field, "url");
    }

    #[test]
    fn a_task_goes_to_the_lane_it_names_else_to_the_last() {
        let desk = desk();
        let lane = |desk: &Desk, text: &str| read(desk, text).unwrap().lane.to_string();
        assert_eq!(lane(&desk, r#"{"url": "http://h/", "queue": "high"}"#), "high");
        assert_eq!(lane(&desk, r#"{"url": "http://h/"}"#), "low");
        let forced = desk.clone().into_lane("medium").unwrap();
        assert_eq!(lane(&forced, r#"{"url": "http://h/", "queue": "high"}"#), "medium");
        assert!(desk.into_lane("urgent").is_err());
    }

    #[test]
    fn a_task_has_its_id_before_it_is_published() {
        let intake = read(&desk(), r#"{"url": "http://h/"}"#).unwrap();
        let envelope: Envelope = serde_json::from_slice(&intake.message.body).unwrap();
        assert_eq!(envelope.id.as_deref(), Some(&*intake.id));
        assert_eq!(intake.message.id.as_deref(), Some(&*intake.id));
        assert!(envelope.created_at.is_some());
    }
}

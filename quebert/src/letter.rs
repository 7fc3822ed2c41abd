//! Dead letters as people see them: what a message among the dead letters tells, which ones are meant, how one is shown,
//! and how it is published again. Talks to no broker: whoever sweeps one hands the messages over.

mod filter;
mod history;
mod mask;
mod show;

pub use filter::{Filter, FilterError, KNOWN_REASONS};
pub use history::history;
pub use mask::{is_secret_header, without_secrets};
pub use show::SHOWN_BYTES;

use quebert_broker_adapter::admin::Place;
use quebert_dispatcher::config::LaneConfig;
use quebert_wire::{Bookkeeping, Codecs, HeaderValue, Message, TaskId, Timestamp, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Most bytes of an id, a reason or a lane's name that are kept of what stands in a message, and of a detail and a URL.
const NAME_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 4096;

/// Where dead letters lie, and what that tells of those that don't say it themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawer {
    /// The place at the broker.
    pub place: Place,
    /// The lane whose dead letters they are; `None` for the common ones.
    pub lane: Option<Arc<str>>,
    /// The lane's work queue, by the broker's name of it.
    pub queue: Option<Arc<str>>,
}

impl Drawer {
    /// Those of a lane.
    pub fn of(lane: &LaneConfig) -> Self {
        let queue = lane.queue.clone();
        Self { place: Place::Dead(queue.clone()), lane: Some(lane.name.clone()), queue: Some(queue) }
    }

    /// Those that no lane claims.
    pub fn common() -> Self {
        Self { place: Place::CommonDead, lane: None, queue: None }
    }

    /// Those of one lane, or of all with the common ones last. `None` if there is no such lane.
    pub fn all(lanes: &[LaneConfig], lane: Option<&str>) -> Option<Vec<Self>> {
        match lane {
            Some(name) => Some(vec![Self::of(lanes.iter().find(|lane| &*lane.name == name)?)]),
            None => Some(lanes.iter().map(Self::of).chain([Self::common()]).collect()),
        }
    }
}

/// What can be told of a dead letter at a glance. Texts are cut to some KiB; what can't be told is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The task's id, or whatever stands in its place; not checked.
    pub id: Option<String>,
    /// Names the letter: the id if it is one, else `h-` and a hash. Letters of one task have the same.
    pub key: String,
    /// The lane that it came from.
    pub lane: Option<String>,
    /// Why it was given up: a word.
    pub reason: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// The request's URL.
    pub url: Option<String>,
    /// The work queue that a replay goes to, by the broker's name of it.
    pub returns_to: Option<String>,
    /// When it was enqueued, or replayed the last time.
    pub enqueued_at: Option<Timestamp>,
}

impl Letter {
    /// Reads what can be read. Dead letters that can't be decoded are dead letters all the same.
    pub fn read(message: &Message, drawer: &Drawer) -> Self {
        let at = match message.headers.get(header::DEAD_AT) {
            Some(HeaderValue::Int(ms)) => Some(Timestamp::from_millis(*ms)),
            _ => None,
        };
        let broker = BrokerDeath::read(message);
        let book = Bookkeeping::read(&message.headers);
        let (url, id) = glance(message);
        let id = id.or_else(|| message.id.clone()).or(book.id);
        let name = |text: Option<String>| text.map(|text| cut(text, NAME_BYTES_MAX));
        let text = |text: Option<String>| text.map(|text| cut(text, TEXT_BYTES_MAX));
        Self {
            key: key(id.as_deref(), message),
            id: name(id),
            lane: name(note(message, header::DEAD_LANE)).or_else(|| drawer.lane.as_deref().map(str::to_owned)),
            reason: name(note(message, header::DEAD_REASON).or(broker.reason)),
            detail: text(note(message, header::DEAD_DETAIL).or(broker.detail)),
            at: at.or(broker.at),
            attempts: book.attempts,
            url: text(url),
            returns_to: book.return_to.or_else(|| drawer.queue.as_deref().map(str::to_owned)),
            enqueued_at: book.enqueued_at,
        }
    }
}

/// The message as it is published again: as the producer wrote it, with its id, and with attempts and age counted from
/// now. The history stays, so that a second death tells of the first. The copy's number goes on: a dispatcher that
/// remembers the settled copy of that number would take this one for it, and ack it without an attempt.
pub fn reborn(message: &Message, now: Timestamp) -> Message {
    let old = Bookkeeping::read(&message.headers);
    let mut message = message.clone();
    message.strip_broker_headers();
    for name in [header::DEAD_REASON, header::DEAD_DETAIL, header::DEAD_AT, header::DEAD_LANE] {
        message.headers.remove(name);
    }
    let book = Bookkeeping {
        enqueued_at: Some(now),
        copy: old.copy.saturating_add(1),
        id: old.id,
        history: old.history,
        ..Bookkeeping::default()
    };
    book.write(&mut message.headers);
    message
}

fn note(message: &Message, name: &str) -> Option<String> {
    match message.headers.get(name) {
        Some(HeaderValue::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// URL and id, without reading more of the body than that takes.
fn glance(message: &Message) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Glance {
        url: Option<String>,
        id: Option<String>,
    }
    if let Some(url) = note(message, header::URL) {
        return (Some(url), None);
    }
    if let Ok(glance) = serde_json::from_slice::<Glance>(&message.body) {
        return (glance.url, glance.id);
    }
    let codecs = Codecs::default();
    let codec = codecs.find(message.content_type.as_deref());
    codec.and_then(|codec| codec.decode(&message.body).ok()).map_or((None, None), |e| (Some(e.url), e.id))
}

/// Of what stays the same however often the letter is looked at; brokers count that in headers.
fn key(id: Option<&str>, message: &Message) -> String {
    if let Some(id) = id.and_then(|id| TaskId::new(id).ok()) {
        return id.as_str().to_owned();
    }
    let mut hash = Sha256::new();
    for part in [id.unwrap_or_default(), message.content_type.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    if let Some(HeaderValue::Int(ms)) = message.headers.get(header::DEAD_AT) {
        hash.update(ms.to_be_bytes());
    }
    hash.update(&message.body);
    let digits: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("h-{digits}")
}

/// At most `max` bytes of a text, cut at a character's border.
fn cut(mut text: String, max: usize) -> String {
    text.truncate(border(&text, max));
    text
}

/// The last border of a character at or before `max`, or the text's end.
fn border(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

/// What the broker notes where it gives up a message by itself, such as at a work queue's delivery limit.
#[derive(Debug, Default)]
struct BrokerDeath {
    reason: Option<String>,
    detail: Option<String>,
    at: Option<Timestamp>,
}

impl BrokerDeath {
    fn read(message: &Message) -> Self {
        // The newest comes first.
        let Some(HeaderValue::List(deaths)) = message.headers.get("x-death") else { return Self::default() };
        let Some(HeaderValue::Table(death)) = deaths.first() else { return Self::default() };
        let text = |name: &str| match death.get(name) {
            Some(HeaderValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        Self {
            reason: text("reason"),
            detail: text("queue").map(|queue| format!("given up by the broker, in queue {queue:?}")),
            at: match death.get("time") {
                Some(HeaderValue::Timestamp(at)) => Some(*at),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As the dispatcher buries a task.
    pub(crate) fn buried() -> Message {
        let mut headers = quebert_wire::Headers::new();
        for (name, text) in [
            (header::DEAD_REASON, "max_attempts"),
            (header::DEAD_DETAIL, "status 500"),
            (header::DEAD_LANE, "high"),
            (header::HISTORY, "1 900 500 12ms"),
            (header::RETRY_REASON, "5xx"),
            ("mine", "kept"),
        ] {
            headers.insert(name.to_owned(), HeaderValue::Text(text.to_owned()));
        }
        headers.insert(header::DEAD_AT.to_owned(), HeaderValue::Int(1_000_000));
        headers.insert(header::ATTEMPTS.to_owned(), HeaderValue::Int(20));
        headers.insert(header::COPY.to_owned(), HeaderValue::Int(21));
        headers.insert(header::ENQUEUED_AT.to_owned(), HeaderValue::Int(1));
        let body = r#"{"url": "http://host/a", "id": "t-1"}"#.into();
        Message { headers, body, ..Message::default() }
    }

    pub(crate) fn drawer() -> Drawer {
        Drawer {
            place: Place::Dead("quebert.high".into()),
            lane: Some("high".into()),
            queue: Some("quebert.high".into()),
        }
    }

    #[test]
    fn a_letter_tells_what_its_notes_say() {
        let letter = Letter::read(&buried(), &drawer());
        assert_eq!((letter.id.as_deref(), &*letter.key), (Some("t-1"), "t-1"));
        assert_eq!((letter.reason.as_deref(), letter.attempts), (Some("max_attempts"), 20));
        assert_eq!(letter.returns_to.as_deref(), Some("quebert.high"));
        let junk = Message { body: "junk".into(), id: Some("m".into()), ..Message::default() };
        let letter = Letter::read(&junk, &Drawer::common());
        assert_eq!(letter.id.as_deref(), Some("m"), "what can't be decoded can be found by its id");
        assert_eq!((letter.returns_to, letter.lane), (None, None));
    }

    #[test]
    fn a_letter_in_message_pack_tells_its_url() {
        let envelope =
            quebert_wire::Envelope { id: Some("t-2".into()), ..quebert_wire::Envelope::new("http://host/b") };
        let body = quebert_wire::Codec::encode(&quebert_wire::MessagePackCodec, &envelope).unwrap();
        let content_type = Some("application/msgpack".to_owned());
        let letter = Letter::read(&Message { body, content_type, ..Message::default() }, &drawer());
        assert_eq!((letter.url.as_deref(), &*letter.key), (Some("http://host/b"), "t-2"));
    }

    #[test]
    fn what_has_no_usable_id_is_named_by_a_hash_that_stays() {
        let key = |message: &Message| Letter::read(message, &drawer()).key;
        let junk = Message { body: "junk".into(), ..Message::default() };
        let mut seen_again = junk.clone();
        seen_again.headers.insert("x-delivery-count".into(), HeaderValue::Int(3));
        assert_eq!(key(&junk), key(&seen_again));
        assert!(key(&junk).starts_with("h-") && key(&junk).len() == 34, "{}", key(&junk));
        assert_ne!(key(&junk), key(&Message { body: "june".into(), ..Message::default() }));
        let spaced = Message { id: Some("two words".into()), ..junk.clone() };
        assert!(key(&spaced).starts_with("h-") && key(&spaced) != key(&junk));
    }

    #[test]
    fn texts_of_strangers_are_cut() {
        let url = format!("http://host/{}", "é".repeat(10_000));
        let body = format!(r#"{{"url": "{url}", "id": "{}"}}"#, "x".repeat(10_000));
        let letter = Letter::read(&Message { body: body.into(), ..Message::default() }, &drawer());
        assert!(letter.url.is_some_and(|url| url.len() <= 4096) && letter.id.is_some_and(|id| id.len() == 256));
    }

    #[test]
    fn a_replayed_task_begins_anew_and_keeps_what_is_its_own() {
        let message = reborn(&buried(), Timestamp::from_millis(77));
        let book = Bookkeeping::read(&message.headers);
        assert_eq!((book.attempts, book.enqueued_at), (0, Some(Timestamp::from_millis(77))));
        assert_eq!(book.copy, 22, "never taken for a copy that was settled before");
        assert_eq!(book.history.as_deref(), Some("1 900 500 12ms"));
        assert_eq!(message.body, buried().body);
        let names: Vec<_> = message.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["mine", header::COPY, header::ENQUEUED_AT, header::HISTORY]);
    }

    #[test]
    fn a_letter_of_the_brokers_own_tells_its_reason() {
        let text = |text: &str| HeaderValue::Text(text.to_owned());
        let death = |reason: &str| {
            HeaderValue::Table(quebert_wire::Headers::from([
                ("reason".to_owned(), text(reason)),
                ("queue".to_owned(), text("quebert.high")),
                ("time".to_owned(), HeaderValue::Timestamp(Timestamp::from_millis(5000))),
            ]))
        };
        let deaths = HeaderValue::List(vec![death("delivery_limit"), death("rejected")]);
        let message = Message { headers: [("x-death".to_owned(), deaths)].into(), ..Message::default() };
        let letter = Letter::read(&message, &drawer());
        assert_eq!((letter.reason.as_deref(), letter.lane.as_deref()), (Some("delivery_limit"), Some("high")));
        assert_eq!(letter.at, Some(Timestamp::from_millis(5000)));
        assert!(KNOWN_REASONS.contains(&"delivery_limit"), "and can be asked for");
    }

    #[test]
    fn drawers_are_a_lanes_own_or_all_with_the_common_one_last() {
        let config = crate::Config::from_toml("").unwrap();
        let lanes = &config.core.lanes;
        assert_eq!(Drawer::all(lanes, Some("nope")), None);
        assert_eq!(Drawer::all(lanes, Some("low")).unwrap()[0].place, Place::Dead("quebert.low".into()));
        let all = Drawer::all(lanes, None).unwrap();
        assert_eq!((all.len(), all.last()), (lanes.len() + 1, Some(&Drawer::common())));
    }
}

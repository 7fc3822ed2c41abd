//! Dead letters for people: in a table, and one in full. Asks nobody for them.

use crate::{
    api::types::{DeadDetail, DeadView},
    cli::table::{self, Set, age, plain, plain_lines, text},
    intake::now,
};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

pub(super) fn list(out: &mut impl Write, letters: &[DeadView]) -> io::Result<()> {
    list_at(out, letters, now())
}

fn list_at(out: &mut impl Write, letters: &[DeadView], now: Timestamp) -> io::Result<()> {
    let columns = [
        ("KEY", Set::Left),
        ("QUEUE", Set::Left),
        ("REASON", Set::Left),
        ("ATTEMPTS", Set::Right),
        ("AGE", Set::Right),
        ("URL", Set::Cut),
        ("DETAIL", Set::Cut),
    ];
    let since = |at: Option<&String>| match at.and_then(|at| at.parse().ok()) {
        Some(at) => age(now.since(at)),
        None => "-".to_owned(),
    };
    let cells = |letter: &DeadView| {
        vec![
            plain(&letter.key),
            text(letter.queue.as_deref()),
            text(letter.reason.as_deref()),
            letter.attempts.to_string(),
            since(letter.dead_at.as_ref()),
            text(letter.url.as_deref()),
            text(letter.detail.as_deref()),
        ]
    };
    table::table(out, &columns, &letters.iter().map(cells).collect::<Vec<_>>())?;
    let mut by_reason = BTreeMap::<String, u64>::new();
    letters.iter().for_each(|letter| *by_reason.entry(text(letter.reason.as_deref())).or_default() += 1);
    let sums: Vec<_> = by_reason.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    writeln!(out, "{} dead letters{}{}", letters.len(), if sums.is_empty() { "" } else { ": " }, sums.join(", "))
}

pub(super) fn in_full(out: &mut impl Write, shown: &DeadDetail) -> io::Result<()> {
    let letter = &shown.letter;
    let lines = [
        ("key", plain(&letter.key)),
        ("task", text(letter.id.as_deref())),
        ("queue", text(letter.queue.as_deref())),
        ("reason", text(letter.reason.as_deref())),
        ("detail", text(letter.detail.as_deref())),
        ("dead since", text(letter.dead_at.as_deref())),
        ("attempts", letter.attempts.to_string()),
        ("url", text(letter.url.as_deref())),
        ("replays to", text(shown.replays_to.as_deref())),
        ("type", text(shown.content_type.as_deref())),
    ];
    lines.iter().try_for_each(|(name, value)| writeln!(out, "{name:<10}  {value}"))?;
    for attempt in &shown.history {
        writeln!(out, "attempt     {}  {}  {} ms", plain(&attempt.at), plain(&attempt.outcome), attempt.duration_ms)?;
    }
    for (name, value) in shown.headers.as_object().into_iter().flatten() {
        // JSON escapes control characters by itself, but not all that hides or turns text.
        writeln!(out, "header      {}: {}", plain(name), plain(&value.to_string()))?;
    }
    let part = if shown.body_lossy { ", not all of it shown as it is" } else { "" };
    writeln!(out, "body        {} bytes{part}\n", shown.body_bytes)?;
    writeln!(out, "{}", plain_lines(&shown.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::AttemptView;
    use insta::assert_snapshot;

    fn letter(key: &str) -> DeadView {
        DeadView {
            key: key.into(),
            id: Some(key.into()),
            queue: Some("high".into()),
            reason: Some("max_attempts".into()),
            detail: Some("status 500".into()),
            dead_at: Some("2026-11-24T10:00:00.000Z".into()),
            attempts: 20,
            url: Some("http://host/a".into()),
        }
    }

    #[test]
    fn letters_stand_in_a_table_with_their_sums() {
        let junk = DeadView {
            key: "h-00ff".into(),
            id: None,
            queue: None,
            reason: Some("undecodable\u{1b}[31m".into()),
            detail: None,
            dead_at: None,
            attempts: 0,
            url: None,
        };
        let mut out = Vec::new();
        list_at(&mut out, &[letter("order-17"), junk], "2026-11-24T10:03:20Z".parse().unwrap()).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        KEY       QUEUE  REASON                 ATTEMPTS    AGE  URL            DETAIL
        order-17  high   max_attempts                 20  3m20s  http://host/a  status 500
        h-00ff    -      undecodable\u{1b}[31m         0      -  -              -
        2 dead letters: 1 max_attempts, 1 undecodable\u{1b}[31m
        ");
    }

    #[test]
    fn one_letter_is_told_in_full() {
        let shown = DeadDetail {
            letter: letter("order-17"),
            history: vec![AttemptView {
                number: 1,
                outcome: "500".into(),
                at: "2026-11-24T10:00:00.000Z".into(),
                duration_ms: 12,
            }],
            content_type: Some("application/json".into()),
            headers: serde_json::json!({"quebert-attempts": 20, "mine": "kept\n\u{1b}[2J"}),
            body: "{\"url\": \"http://host/a\"}\u{1b}[2J\nsecond line".into(),
            body_lossy: false,
            body_bytes: 24,
            replays_to: Some("quebert.high".into()),
        };
        let mut out = Vec::new();
        in_full(&mut out, &shown).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        key         order-17
        task        order-17
        queue       high
        reason      max_attempts
        detail      status 500
        dead since  2026-11-24T10:00:00.000Z
        attempts    20
        url         http://host/a
        replays to  quebert.high
        type        application/json
        attempt     2026-11-24T10:00:00.000Z  500  12 ms
        header      mine: "kept\n\u001b[2J"
        header      quebert-attempts: 20
        body        24 bytes

        {"url": "http://host/a"}\u{1b}[2J
        second line
        "#);
    }
}

//! What is wrong with an envelope, as a list. No values are told but lengths and numbers, since values may be secrets.

use crate::{DecodeError, Limits, header};
use std::fmt;

/// One thing that is wrong with an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, such as `url`, `retry.max_attempts` or `headers.host`; in the raw form the message header's name.
    pub field: String,
    /// What is wrong with it, and the limit: a lowercase fragment.
    pub message: String,
    /// The kind.
    pub kind: ViolationKind,
}

/// The kinds of violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// The value makes no sense.
    Malformed,
    /// The value is understood, but too large, or not to be had here.
    NotAllowed,
    /// A header that producers can't set. A dispatcher leaves it out.
    Reserved,
    /// A field that no envelope has. A dispatcher ignores and counts it.
    Unknown,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.field.starts_with(header::PREFIX) { "header" } else { "field" };
        write!(f, "{what} \"{}\": {}", self.field, self.message)
    }
}

/// What the producer calls the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// As in the envelope.
    Fields,
    /// By the message headers of the raw form.
    Headers,
}

/// Collects violations.
pub(crate) struct Report<'l> {
    pub(crate) limits: &'l Limits,
    /// Whether reserved headers are violations; otherwise they are just left out.
    pub(crate) strict: bool,
    naming: Naming,
    violations: Vec<Violation>,
}

/// A thousand bad headers need no thousand complaints.
const VIOLATIONS_MAX: usize = 32;

impl<'l> Report<'l> {
    pub(crate) fn new(limits: &'l Limits, strict: bool, naming: Naming) -> Self {
        Self { limits, strict, naming, violations: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn add(&mut self, kind: ViolationKind, field: &str, message: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let field = match self.naming {
                Naming::Fields => field.to_owned(),
                Naming::Headers => header_name(field),
            };
            self.violations.push(Violation { field, message: message.to_owned(), kind });
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Vec<Violation>> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }

    /// Everything in one error; malformed wins over not allowed.
    pub(crate) fn into_error(self) -> DecodeError {
        let malformed = self.violations.iter().any(|v| v.kind == ViolationKind::Malformed);
        let text = self.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if malformed { DecodeError::Undecodable(text) } else { DecodeError::NotAllowed(text) }
    }
}

/// A name of the producer's as errors show it: control characters escaped, and no longer than fits a message.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_SHOWN).flat_map(char::escape_debug).collect()
}

const NAME_CHARS_SHOWN: usize = 64;

/// `retry.max_age_ms` is `quebert-max-age-ms` in the raw form, and so on.
fn header_name(field: &str) -> String {
    if let Some(name) = field.strip_prefix("headers.") {
        return format!("{}{name}", header::FORWARD_PREFIX);
    }
    if let Some(name) = field.strip_prefix("labels.") {
        return format!("{}{name}", header::LABEL_PREFIX);
    }
    match field {
        "body_base64" => "body".to_owned(),
        "body" | "id" => field.to_owned(),
        "headers" => format!("{}*", header::FORWARD_PREFIX),
        "labels" => format!("{}*", header::LABEL_PREFIX),
        _ => format!("{}{}", header::PREFIX, field.trim_start_matches("retry.").replace('_', "-")),
    }
}

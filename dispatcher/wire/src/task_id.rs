//! A task's identity. How it is drawn is not decided here: clock and entropy come from the caller.

use crate::{Timestamp, ascii::is_visible, limits::ID_LEN_MAX};
use std::{fmt, str::FromStr, sync::Arc};

/// A task's id: 1 to 128 visible ASCII characters. Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Arc<str>);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskIdError {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// It is too long.
    #[error("{0} bytes, at most {ID_LEN_MAX} are allowed")]
    TooLong(usize),
    /// It has a space, a control character or something outside of ASCII.
    #[error("has a character that is not visible ASCII")]
    Character,
}

impl TaskId {
    /// Checks a text.
    ///
    /// ```
    /// use quebert_wire::TaskId;
    /// assert_eq!(TaskId::new("order-17")?.as_str(), "order-17");
    /// assert!(TaskId::new("two words").is_err());
    /// # Ok::<(), quebert_wire::TaskIdError>(())
    /// ```
    pub fn new(text: &str) -> Result<Self, TaskIdError> {
        if text.is_empty() {
            return Err(TaskIdError::Empty);
        }
        if text.len() > ID_LEN_MAX {
            return Err(TaskIdError::TooLong(text.len()));
        }
        if !is_visible(text) {
            return Err(TaskIdError::Character);
        }
        Ok(Self(text.into()))
    }

    /// A UUIDv7 (RFC 9562) of this moment. Moments before 1970 count as 1970.
    pub fn v7(at: Timestamp, random: [u8; 10]) -> Self {
        let ms = u64::try_from(at.as_millis()).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid();
        Self(Arc::from(&*uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        Self::new(text)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_visible_ascii_is_an_id() {
        assert_eq!(TaskId::new(""), Err(TaskIdError::Empty));
        assert_eq!(TaskId::new(&"x".repeat(129)), Err(TaskIdError::TooLong(129)));
        for bad in ["a b", "a\n", "é", "\u{7f}", "\0"] {
            assert_eq!(TaskId::new(bad), Err(TaskIdError::Character), "{bad:?}");
        }
        assert!(TaskId::new(&"~".repeat(128)).is_ok());
    }

    #[test]
    fn v7_carries_the_moment_and_the_random_bytes() {
        let id = TaskId::v7(Timestamp::from_millis(0x0123_4567_89ab), [0xff; 10]);
        assert_eq!(id.as_str(), "01234567-89ab-7fff-bfff-ffffffffffff");
    }
}

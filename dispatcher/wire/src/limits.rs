//! Limits of what is taken for a task.

/// Limits of what is taken for a task. Errors name the field and the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's body, as sent.
    pub body_bytes: usize,
}

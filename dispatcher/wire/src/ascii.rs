//! What each task's texts are asked.

/// Whether all of it is visible ASCII: no space, no control character. Without a branch for each byte, so that several are
/// looked at together.
pub(crate) fn is_visible(text: &str) -> bool {
    text.bytes().fold(true, |all, b| all & b.is_ascii_graphic())
}

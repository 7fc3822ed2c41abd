//! Lines of an input, without ever holding more than the limit. Says nothing about what stands in them.

use bytes::Bytes;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Bytes of one line: a body of the default limit, base64, with room for the rest.
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(Bytes),
    Blank,
    TooLong,
    End,
}

/// Reads lines.
pub(super) struct Lines<R> {
    input: R,
    /// What has come of the next line.
    text: Vec<u8>,
    too_long: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, text: Vec::new(), too_long: false }
    }

    /// The next line. Dropping the future loses nothing: what has come of a line stays here.
    pub(super) async fn next(&mut self) -> io::Result<Line> {
        loop {
            let chunk = self.input.fill_buf().await?;
            if chunk.is_empty() {
                let nothing = self.text.is_empty() && !self.too_long;
                return Ok(if nothing { Line::End } else { self.finished() });
            }
            let end = chunk.iter().position(|b| *b == b'\n');
            let take = end.unwrap_or(chunk.len());
            self.too_long |= self.text.len() + take > LINE_BYTES_MAX;
            if self.too_long {
                self.text.clear();
            } else {
                self.text.extend_from_slice(&chunk[..take]);
            }
            self.input.consume(take + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(self.finished());
            }
        }
    }

    fn finished(&mut self) -> Line {
        let text = std::mem::take(&mut self.text);
        match () {
            () if std::mem::take(&mut self.too_long) => Line::TooLong,
            () if text.iter().all(u8::is_ascii_whitespace) => Line::Blank,
            () => Line::Text(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, BufReader};

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_skipped_and_the_next_one_read() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\n\n{}");
        let mut lines = Lines::new(BufReader::with_capacity(1000, &text[..]));
        assert_eq!(lines.next().await.unwrap(), Line::TooLong);
        assert_eq!(lines.next().await.unwrap(), Line::Blank);
        assert_eq!(lines.next().await.unwrap(), Line::Text("{}".into()));
        assert_eq!(lines.next().await.unwrap(), Line::End);
    }

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_survives_a_reader_that_gave_up_meanwhile() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(BufReader::new(reader));
        writer.write_all(b"{\"url\": ").await.unwrap();
        let given_up = futures_util::FutureExt::now_or_never(lines.next());
        assert!(given_up.is_none());
        writer.write_all(b"1}\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Line::Text("{\"url\": 1}".into()));
    }
}

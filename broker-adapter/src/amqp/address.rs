//! One broker address, parsed and without its credentials wherever it is shown.

use super::RabbitConfig;
use lapin::uri::AMQPUri;
use std::fmt;

/// An address, with the defaults of the config filled in.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) AMQPUri);

impl Address {
    /// Parses; errors never repeat the text, since it may hold a password.
    pub(crate) fn parse(url: &str, config: &RabbitConfig) -> Result<Self, String> {
        let mut uri: AMQPUri = url
            .parse()
            .map_err(|_| "not a valid amqp:// or amqps:// address (text withheld, it may hold a password)")?;
        if let Some(literal) = ipv6_literal(url) {
            // The parser knows domains only, and would take `localhost` for it.
            uri.authority.host = literal.to_owned();
        }
        let query = &mut uri.query;
        query.heartbeat = Some(query.heartbeat.unwrap_or(config.heartbeat_s));
        query.frame_max = Some(query.frame_max.unwrap_or(config.frame_bytes_max));
        if query.heartbeat == Some(0) {
            return Err("heartbeat=0 is refused: without heartbeats a dead peer is never noticed".into());
        }
        if query.frame_max.is_some_and(|max| max < 8192) {
            return Err("frame_max must be at least 8192".into());
        }
        Ok(Self(uri))
    }

    /// How many bytes properties and headers of one message may take: one frame, less its own overhead.
    pub(crate) fn header_bytes_max(&self) -> usize {
        let frame = self.0.query.frame_max.expect("filled in by parse");
        usize::try_from(frame).unwrap_or(usize::MAX) - 1024
    }
}

/// `::1` of `amqp://user@[::1]:5672/v`.
fn ipv6_literal(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?;
    host.strip_prefix('[')?.split_once(']').map(|(literal, _)| literal)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.0;
        write!(f, "{scheme}://{}:{}/{vhost}", authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A URL without its credentials; nothing of it if it doesn't look like one.
pub(crate) fn redact(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{}", path.split('?').next().unwrap_or_default())
        }
        None => "(not a url)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url, &RabbitConfig::default()).unwrap()
    }

    #[test]
    fn heartbeat_and_frame_size_of_the_url_win() {
        let plain = parse("amqp://h").0.query;
        assert_eq!((plain.heartbeat, plain.frame_max), (Some(10), Some(131_072)));
        let own = parse("amqp://h/v?heartbeat=2&frame_max=65536").0.query;
        assert_eq!((own.heartbeat, own.frame_max), (Some(2), Some(65_536)));
        assert!(Address::parse("amqp://h?heartbeat=0", &RabbitConfig::default()).is_err());
    }

    #[test]
    fn ipv6_hosts_are_kept() {
        assert_eq!(parse("amqp://u:p@[::1]:5673/v").0.authority.host, "::1");
    }
}

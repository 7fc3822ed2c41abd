//! An executor's origin. Names are not resolved here, and addresses not judged.

use std::{fmt, io::Write, net::Ipv6Addr, str::FromStr, sync::Arc};

/// An executor's origin: `scheme://host:port` in lower case, the port always there, IPv6 addresses in brackets and in
/// their shortest form. The unit of isolation. Cloning shares the text.
///
/// ```
/// use quebert_wire::Destination;
/// let d: Destination = "HTTPS://Example.com/path".parse()?;
/// assert_eq!(d.as_str(), "https://example.com:443");
/// assert_eq!((d.scheme(), d.host(), d.port()), ("https", "example.com", 443));
/// # Ok::<(), quebert_wire::DestinationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(Arc<str>);

/// Why a URL has no origin that a request could be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// Neither `http` nor `https`, or no scheme at all.
    #[error("the scheme must be http or https")]
    Scheme,
    /// User and password stand in it.
    #[error("must not hold credentials")]
    Credentials,
    /// There is no host, or it is not a name or an address.
    #[error("the host must be a name or an IP address")]
    Host,
    /// Not 1 to 65535.
    #[error("the port must be 1 to 65535")]
    Port,
    /// It is no URL at all.
    #[error("not an absolute URL")]
    NotAUrl,
}

/// `https://` + name + `:65535`; names of the DNS have at most 253 characters.
const TEXT_MAX: usize = 8 + HOST_MAX + 6;
const HOST_MAX: usize = 253;

impl Destination {
    /// The origin of an absolute URL.
    pub fn of(url: &http::Uri) -> Result<Self, DestinationError> {
        let (scheme, port_default) = match url.scheme_str() {
            Some(s) if s.eq_ignore_ascii_case("http") => ("http", 80),
            Some(s) if s.eq_ignore_ascii_case("https") => ("https", 443),
            _ => return Err(DestinationError::Scheme),
        };
        let authority = url.authority().ok_or(DestinationError::Host)?.as_str();
        if authority.contains('@') {
            return Err(DestinationError::Credentials);
        }
        let (host, port) = split(authority)?;
        let port = match port {
            None | Some("") => port_default,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => port,
                _ => return Err(DestinationError::Port),
            },
        };
        // Written on the stack, so that the shared text is the only allocation.
        let mut text = [0u8; TEXT_MAX];
        let mut rest = &mut text[..];
        match host {
            // Part by part, as this is done for each task: formatting takes twice as long.
            Host::Name(name) => [scheme.as_bytes(), b"://", name.as_bytes(), b":", Digits::of(port).as_bytes()]
                .iter()
                .try_for_each(|part| rest.write_all(part)),
            Host::V6(address) => write!(rest, "{scheme}://[{address}]:{port}"),
        }
        .map_err(|_| DestinationError::Host)?;
        let len = TEXT_MAX - rest.len();
        text[..len].make_ascii_lowercase();
        let text = std::str::from_utf8(&text[..len]).map_err(|_| DestinationError::Host)?;
        Ok(Self(text.into()))
    }

    /// The origin as text, such as `https://example.com:443`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.parts().0
    }

    /// The host as a resolver takes it: IPv6 addresses without brackets.
    pub fn host(&self) -> &str {
        self.parts().1.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.parts().2.parse().expect("the port is a number: written by `of`")
    }

    /// Whether requests go over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme() == "https"
    }

    fn parts(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.0.split_once("://").expect("the scheme is there: written by `of`");
        let (host, port) = rest.rsplit_once(':').expect("the port is there: written by `of`");
        (scheme, host, port)
    }
}

/// A port as text.
struct Digits {
    text: [u8; 5],
    from: usize,
}

impl Digits {
    fn of(port: u16) -> Self {
        let (mut text, mut from, mut rest) = ([0; 5], 5, port);
        loop {
            from -= 1;
            text[from] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                return Self { text, from };
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[self.from..]
    }
}

enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

fn split(authority: &str) -> Result<(Host<'_>, Option<&str>), DestinationError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(DestinationError::Host)?;
        let address = address.parse().map_err(|_| DestinationError::Host)?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or(DestinationError::Port)?),
        };
        return Ok((Host::V6(address), port));
    }
    let (host, port) = match authority.bytes().position(|b| b == b':') {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    };
    // Stricter than RFC 3986, which allows percent-encoding and more: no such name can be resolved.
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > HOST_MAX || !host.bytes().fold(true, |all, b| all & valid(b)) {
        return Err(DestinationError::Host);
    }
    Ok((Host::Name(host), port))
}

impl TryFrom<&http::Uri> for Destination {
    type Error = DestinationError;

    fn try_from(url: &http::Uri) -> Result<Self, DestinationError> {
        Self::of(url)
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(url: &str) -> Result<Self, DestinationError> {
        Self::of(&url.parse().map_err(|_| DestinationError::NotAUrl)?)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expect: &str) {
        assert_eq!(url.parse::<Destination>().unwrap().as_str(), expect, "{url}");
    }

    #[track_caller]
    fn refused(url: &str, expect: DestinationError) {
        assert_eq!(url.parse::<Destination>().unwrap_err(), expect, "{url}");
    }

    #[test]
    fn one_origin_has_one_text() {
        check("http://a/", "http://a:80");
        check("HTTP://A:80/x?y", "http://a:80");
        check("https://a", "https://a:443");
        check("http://a:/", "http://a:80");
        check("http://a:00080/", "http://a:80");
        check("http://[2001:DB8:0:0::1]:8080/", "http://[2001:db8::1]:8080");
        check(&format!("https://{}:65535/", "a".repeat(253)), &format!("https://{}:65535", "a".repeat(253)));
    }

    #[test]
    fn what_can_not_be_requested_has_no_origin() {
        refused("ftp://a/", DestinationError::Scheme);
        refused("/path", DestinationError::Scheme);
        refused("http://user:secret@a/", DestinationError::Credentials);
        refused("http://a:0/", DestinationError::Port);
        refused("http://a:99999/", DestinationError::Port);
        refused("http://a%41/", DestinationError::NotAUrl);
        refused("http://a~b/", DestinationError::Host);
        refused("http://[::1%25eth0]/", DestinationError::Host);
        refused(&format!("http://{}/", "a".repeat(254)), DestinationError::Host);
        refused("", DestinationError::NotAUrl);
    }

    #[test]
    fn parts_are_those_of_the_text() {
        let d: Destination = "https://[::1]:8443/x".parse().unwrap();
        assert_eq!((d.scheme(), d.host(), d.port(), d.is_tls()), ("https", "::1", 8443, true));
    }
}

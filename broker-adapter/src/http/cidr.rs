//! Address ranges in CIDR notation. Knows nothing of which ranges are dangerous; `guard` does.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of addresses, such as `10.0.0.0/8` or `fd00::/8`. An address without a prefix length is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidrError {
    /// The part before the slash.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// The part after the slash.
    #[error("prefix length {0:?} is not a number from 0 to {1}")]
    Prefix(String, u8),
    /// The address has bits set beyond the prefix; probably a slip.
    #[error("{0} has bits beyond its prefix; did you mean {1}?")]
    HostBits(String, Cidr),
}

impl Cidr {
    /// The range of one address.
    pub const fn only(address: IpAddr) -> Self {
        Self { network: address, prefix: bits(&address) }
    }

    /// Whether the address lies in the range. Families do not mix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => {
                mask(addr.to_bits().into(), 32, self.prefix) == u128::from(net.to_bits())
            }
            (IpAddr::V6(net), IpAddr::V6(addr)) => mask(addr.to_bits(), 128, self.prefix) == net.to_bits(),
            _ => false,
        }
    }

    /// Whether the range holds just this address.
    pub fn is_only(&self, address: IpAddr) -> bool {
        *self == Self::only(address)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address(address.to_owned()))?;
        let all = bits(&address);
        let Some(prefix) = prefix else { return Ok(Self::only(address)) };
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix
            .parse::<u8>()
            .ok()
            .filter(|n| digits && *n <= all)
            .ok_or_else(|| CidrError::Prefix(prefix.to_owned(), all))?;
        let network = match address {
            IpAddr::V4(a) => {
                let masked = mask(a.to_bits().into(), 32, prefix);
                IpAddr::V4(u32::try_from(masked).expect("32 bits stay 32 bits").into())
            }
            IpAddr::V6(a) => IpAddr::V6(mask(a.to_bits(), 128, prefix).into()),
        };
        let range = Self { network, prefix };
        if network == address { Ok(range) } else { Err(CidrError::HostBits(text.to_owned(), range)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn bits(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first `prefix` of `all` bits; the rest is zero.
fn mask(address: u128, all: u8, prefix: u8) -> u128 {
    let rest = u32::from(all - prefix);
    address.checked_shr(rest).and_then(|kept| kept.checked_shl(rest)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_its_first_and_last_address_and_no_neighbour() {
        for (text, first, last, before, after) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("192.168.4.0/22", "192.168.4.0", "192.168.7.255", "192.168.3.255", "192.168.8.0"),
            ("1.2.3.4", "1.2.3.4", "1.2.3.4", "1.2.3.3", "1.2.3.5"),
            ("fd00::/8", "fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fcff::ffff", "fe00::"),
            ("2001:db8::7/128", "2001:db8::7", "2001:db8::7", "2001:db8::6", "2001:db8::8"),
        ] {
            let range = range(text);
            let holds = |a: &str| range.contains(a.parse().unwrap());
            assert!(holds(first) && holds(last), "{text}");
            assert!(!holds(before) && !holds(after), "{text}");
        }
    }

    #[test]
    fn the_widest_range_holds_all_of_its_family_and_none_of_the_other() {
        assert!(range("0.0.0.0/0").contains("255.255.255.255".parse().unwrap()));
        assert!(range("::/0").contains("ffff::".parse().unwrap()));
        assert!(!range("::/0").contains("1.2.3.4".parse().unwrap()));
        assert!(!range("0.0.0.0/0").contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for (text, expect) in [
            ("", "\"\" is not an IP address"),
            ("example.com/8", "\"example.com\" is not an IP address"),
            ("10.0.0.0/33", "prefix length \"33\" is not a number from 0 to 32"),
            ("10.0.0.0/", "prefix length \"\" is not a number from 0 to 32"),
            ("10.0.0.0/+8", "prefix length \"+8\" is not a number from 0 to 32"),
            ("::/129", "prefix length \"129\" is not a number from 0 to 128"),
            ("10.0.0.1/8", "10.0.0.1/8 has bits beyond its prefix; did you mean 10.0.0.0/8?"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), expect);
        }
    }
}

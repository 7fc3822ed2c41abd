//! The address guard: which addresses a task may make the dispatcher talk to.
//!
//! Looks at addresses, never at names: a name is checked by what it resolves to, at the moment of connecting, so that
//! no spelling of a host and no change of its DNS entry gets around it.

use super::cidr::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says which addresses may be connected to. The default forbids all that is not on the public internet.
#[derive(Debug, Clone)]
pub struct AddressGuard {
    on: bool,
    allow: Vec<Cidr>,
}

/// An address that may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address {address} is forbidden ({why})")]
pub struct Forbidden {
    /// Which one.
    pub address: IpAddr,
    /// Why: a few words, such as `private`.
    pub why: &'static str,
}

impl Default for AddressGuard {
    fn default() -> Self {
        Self { on: true, allow: Vec::new() }
    }
}

impl AddressGuard {
    /// Lets everything pass.
    pub const fn off() -> Self {
        Self { on: false, allow: Vec::new() }
    }

    /// Forbids all that is not public, but for these ranges. The metadata services of clouds stay forbidden within a
    /// wider range: they hand out credentials to whoever asks, so each must be named by its very address.
    pub fn allowing(ranges: impl IntoIterator<Item = Cidr>) -> Self {
        Self { on: true, allow: ranges.into_iter().collect() }
    }

    /// Checks one address.
    ///
    /// # Errors
    /// When it is forbidden, with the reason.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let verdict = if self.on { self.judge(address) } else { Ok(()) };
        verdict.map_err(|why| Forbidden { address, why })
    }

    fn judge(&self, address: IpAddr) -> Result<(), &'static str> {
        // To the kernel a mapped address is the IPv4 address.
        let address = address.to_canonical();
        if METADATA.contains(&address) {
            let named = self.allow.iter().any(|range| range.is_only(address));
            return if named { Ok(()) } else { Err("cloud metadata") };
        }
        let listed = self.allow.iter().any(|range| range.contains(address));
        match address {
            _ if listed && !embeds_metadata(address) => Ok(()),
            IpAddr::V4(v4) => special_v4(v4).map_or(Ok(()), Err),
            IpAddr::V6(v6) => self.judge_v6(v6),
        }
    }

    /// An address that carries an IPv4 address to some gateway is as good as that IPv4 address.
    fn judge_v6(&self, v6: Ipv6Addr) -> Result<(), &'static str> {
        let mut embeds = false;
        for v4 in embedded_v4(v6).into_iter().flatten() {
            embeds = true;
            self.judge(IpAddr::V4(v4))?;
        }
        // Where the IPv6 address is nothing but a wrapper, the IPv4 address has said it all.
        if embeds && is_wrapper(v6) { Ok(()) } else { special_v6(v6).map_or(Ok(()), Err) }
    }
}

fn embeds_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => embedded_v4(v6).into_iter().flatten().any(|v4| METADATA.contains(&IpAddr::V4(v4))),
    }
}

/// What is not public in IPv4 (the IANA special-purpose registry, RFC 6890 and its updates).
fn special_v4(v4: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = v4.octets();
    Some(match (a, b, c) {
        (0, ..) => "this network",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "private",
        (100, 64..=127, _) => "shared by carriers",
        (127, ..) => "loopback",
        (169, 254, _) => "link-local",
        (192, 0, 0) => "protocol assignments",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "documentation",
        (192, 88, 99) => "6to4 relay",
        (198, 18..=19, _) => "benchmarking",
        (224..=239, ..) => "multicast",
        (255, 255, 255) if v4.is_broadcast() => "broadcast",
        (240..=255, ..) => "reserved",
        _ => return None,
    })
}

/// What is not public in IPv6. Only 2000::/3 is given out for global unicast at all.
fn special_v6(v6: Ipv6Addr) -> Option<&'static str> {
    let [a, b, ..] = v6.segments();
    Some(match (a, b) {
        _ if v6.is_unspecified() => "unspecified",
        _ if v6.is_loopback() => "loopback",
        (0xfc00..=0xfdff, _) => "unique local",
        (0xfe80..=0xfebf, _) => "link-local",
        (0xfec0..=0xfeff, _) => "site-local",
        (0xff00..=0xffff, _) => "multicast",
        (0x2001, 0x0db8) | (0x3fff, 0x0000..=0x0fff) => "documentation",
        // 2001::/23 but for Teredo, whose embedded addresses have been looked at.
        (0x2001, 0x0001..=0x01ff) => "protocol assignments",
        // 64:ff9b:1::/48 is for translators of one's own network, with the address at a place of their choice.
        (0x0064, 0xff9b) => "local translation",
        (0x2000..=0x3fff, _) => return None,
        _ => "not global unicast",
    })
}

/// Whether all that decides about the address is the IPv4 address inside of it.
fn is_wrapper(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    matches!(s, [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..])
}

/// The IPv4 addresses that an IPv6 address carries, by every scheme that a host or gateway may still follow.
fn embedded_v4(v6: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let s = v6.segments();
    let at = |i: usize| Ipv4Addr::from((u32::from(s[i]) << 16) | u32::from(s[i + 1]));
    match s {
        // :: and ::1 are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 2],
        // IPv4-compatible, IPv4-mapped, IPv4-translated (SIIT), NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(at(6)), None]
        }
        // 6to4, which may lead to an ISATAP host.
        [0x2002, ..] => [Some(at(1)), isatap(s).then(|| at(6))],
        // Teredo: the server, and the client with its bits turned over.
        [0x2001, 0, ..] => [Some(at(2)), Some(Ipv4Addr::from(!at(6).to_bits()))],
        _ => [isatap(s).then(|| at(6)), None],
    }
}

/// An interface id of 0:5efe or 200:5efe (RFC 5214, section 6.1).
fn isatap(s: [u16; 8]) -> bool {
    matches!((s[4], s[5]), (0x0000 | 0x0200, 0x5efe))
}

/// Addresses at which clouds hand out credentials and user data to whoever asks from within.
const METADATA: [IpAddr; 9] = [
    // AWS, Azure, Google, Oracle, DigitalOcean and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS: credentials of ECS tasks and of EKS pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // Alibaba.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Oracle, classic.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // Azure's host agent; a public address, but only by looks.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // AWS, over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google, over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(guard: &AddressGuard, address: &str, expect: Option<&str>) {
        let why = guard.check(address.parse().unwrap()).err().map(|f| f.why);
        assert_eq!(why, expect, "{address}");
    }

    fn allowing(ranges: &[&str]) -> AddressGuard {
        AddressGuard::allowing(ranges.iter().map(|r| r.parse().unwrap()))
    }

    /// First and last address of every forbidden range.
    const FORBIDDEN_V4: [(&str, &str, &str); 18] = [
        ("0.0.0.0", "0.255.255.255", "this network"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "shared by carriers"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "link-local"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "protocol assignments"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.88.99.0", "192.88.99.255", "6to4 relay"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("198.18.0.0", "198.19.255.255", "benchmarking"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.254", "reserved"),
        ("255.255.255.255", "255.255.255.255", "broadcast"),
        ("169.254.169.254", "169.254.169.254", "cloud metadata"),
        ("168.63.129.16", "168.63.129.16", "cloud metadata"),
    ];

    /// The neighbours of those ranges, and some well-known hosts.
    const PUBLIC_V4: [&str; 24] = [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "223.255.255.255",
        "168.63.129.17",
    ];

    /// Every way to write an IPv4 address into an IPv6 address.
    fn embeddings(v4: &str) -> Vec<Ipv6Addr> {
        let v4: Ipv4Addr = v4.parse().unwrap();
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        [
            [0, 0, 0, 0, 0, 0, high, low],
            [0, 0, 0, 0, 0, 0xffff, high, low],
            [0, 0, 0, 0, 0xffff, 0, high, low],
            [0x64, 0xff9b, 0, 0, 0, 0, high, low],
            [0x64, 0xff9b, 1, 0, 0, 0, high, low],
            [0x64, 0xff9b, 1, high, low >> 8, low << 8, 0, 0],
            [0x2002, high, low, 0, 0, 0, 0, 1],
            [0x2001, 0, high, low, 0, 0, !0x0808, !0x0808],
            [0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low],
            [0x2a00, 1, 2, 3, 0, 0x5efe, high, low],
            [0x2a00, 1, 2, 3, 0x200, 0x5efe, high, low],
            [0x2002, 0x0808, 0x0808, 0, 0, 0x5efe, high, low],
        ]
        .map(Ipv6Addr::from)
        .into()
    }

    #[test]
    fn what_is_not_public_is_forbidden_to_the_last_address() {
        let guard = AddressGuard::default();
        for (first, last, why) in FORBIDDEN_V4 {
            check(&guard, first, Some(why));
            check(&guard, last, Some(why));
        }
        for (address, why) in [
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fc00::", "unique local"),
            ("fdff:ffff::1", "unique local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            ("2001:1::1", "protocol assignments"),
            ("2001:10::1", "protocol assignments"),
            ("2001:1ff::1", "protocol assignments"),
            ("64:ff9b:1::808:808", "local translation"),
            ("100::1", "not global unicast"),
            ("5f00::1", "not global unicast"),
            ("4000::1", "not global unicast"),
            ("fd00:ec2::254", "cloud metadata"),
            ("fd20:ce::254", "cloud metadata"),
        ] {
            check(&guard, address, Some(why));
        }
    }

    #[test]
    fn what_is_public_passes() {
        let guard = AddressGuard::default();
        for address in PUBLIC_V4 {
            check(&guard, address, None);
        }
        for address in
            ["2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00:1450::1", "64:ff9b::808:808"]
        {
            check(&guard, address, None);
        }
    }

    #[test]
    fn every_embedding_of_a_forbidden_range_is_forbidden() {
        let guard = AddressGuard::default();
        for (first, last, _) in FORBIDDEN_V4 {
            for v6 in [first, last].into_iter().flat_map(embeddings) {
                assert!(guard.check(v6.into()).is_err(), "{v6} embeds one of {first}..{last}");
            }
        }
    }

    #[test]
    fn an_allowed_range_passes_and_its_neighbours_do_not() {
        let guard = allowing(&["10.1.0.0/16", "fd12::/16"]);
        check(&guard, "10.1.2.3", None);
        check(&guard, "::ffff:10.1.2.3", None);
        check(&guard, "64:ff9b::10.1.2.3", None);
        check(&guard, "fd12::1", None);
        check(&guard, "10.2.0.0", Some("private"));
        check(&guard, "fd13::1", Some("unique local"));
        check(&guard, "::1", Some("loopback"));
    }

    #[test]
    fn metadata_must_be_named_by_its_very_address() {
        let wide = allowing(&["0.0.0.0/0", "::/0"]);
        check(&wide, "127.0.0.1", None);
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "fd00:ec2::254"] {
            check(&wide, address, Some("cloud metadata"));
        }
        let named = allowing(&["169.254.169.254/32"]);
        check(&named, "169.254.169.254", None);
        check(&named, "169.254.170.2", Some("cloud metadata"));
        check(&named, "169.254.169.253", Some("link-local"));
    }

    #[test]
    fn switched_off_it_lets_everything_pass() {
        for address in ["127.0.0.1", "169.254.169.254", "::1"] {
            check(&AddressGuard::off(), address, None);
        }
    }

    proptest! {
        #[test]
        fn an_embedding_is_never_more_allowed_than_what_it_embeds(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let guard = AddressGuard::default();
            if guard.check(v4.into()).is_err() {
                for v6 in embeddings(&v4.to_string()) {
                    prop_assert!(guard.check(v6.into()).is_err(), "{} embeds {}", v6, v4);
                }
            }
        }

        #[test]
        fn private_addresses_are_forbidden_in_every_embedding(low: u32, which in 0..4_usize) {
            let v4 = match which {
                0 => 0x0a00_0000 | (low & 0x00ff_ffff),
                1 => 0x7f00_0000 | (low & 0x00ff_ffff),
                2 => 0xac10_0000 | (low & 0x000f_ffff),
                _ => 0xc0a8_0000 | (low & 0xffff),
            };
            let v4 = Ipv4Addr::from(v4).to_string();
            for v6 in embeddings(&v4) {
                prop_assert!(AddressGuard::default().check(v6.into()).is_err(), "{} embeds {}", v6, v4);
            }
        }
    }
}

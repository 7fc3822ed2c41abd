//! Signatures of the Standard Webhooks specification, scheme `v1`: HMAC-SHA256 over `id.timestamp.body`.
//!
//! Checks no signature; that is the executor's part, and `docs/executors.md` shows how.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{fmt, str::FromStr};

/// A signing secret: 24 to 64 bytes, written `whsec_` and base64. Never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why a text is no signing secret. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The prefix is not there.
    #[error("signing secret does not begin with whsec_")]
    Prefix,
    /// What follows is not base64.
    #[error("signing secret is not base64 after whsec_")]
    Base64,
    /// Too short to be safe, or longer than the specification allows.
    #[error("signing secret holds {0} bytes, but 24 to 64 are needed")]
    Length(usize),
}

impl Secret {
    /// Bytes of the shortest and the longest secret (Standard Webhooks, "Signature scheme").
    const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

    /// From the raw key.
    ///
    /// # Errors
    /// When it does not hold 24 to 64 bytes.
    pub fn from_bytes(key: Vec<u8>) -> Result<Self, SecretError> {
        if Self::BYTES.contains(&key.len()) { Ok(Self(key)) } else { Err(SecretError::Length(key.len())) }
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Reads `whsec_...`, with or without base64 padding; white space around it is ignored, since secrets come from
    /// files that end with a newline.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(SecretError::Prefix)?;
        Self::from_bytes(ANY_PADDING.decode(encoded).map_err(|_| SecretError::Base64)?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Signs with every key of a rotation. Each key's schedule is computed once, so that a signature costs no more than
/// the hashing of its text.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Hmac<Sha256>>,
}

impl Signer {
    /// From secrets, newest first: the signatures stand in this order. `None` when there are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Option<Self> {
        let keys: Vec<_> = secrets
            .into_iter()
            .map(|secret| Hmac::new_from_slice(&secret.0).expect("HMAC takes a key of any length"))
            .collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Appends the value of `webhook-signature` to `out`: one `v1,<base64>` per key, separated by spaces. `id` must hold
    /// no `.`; `timestamp` is in seconds since the Unix epoch.
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8], out: &mut impl Extend<u8>) {
        debug_assert!(!id.contains('.'), "a dot in the id would make the signed text ambiguous");
        for (i, key) in self.keys.iter().enumerate() {
            let mut mac = key.clone();
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            let mut encoded = [0; ENCODED_BYTES];
            let n = STANDARD
                .encode_slice(mac.finalize().into_bytes(), &mut encoded)
                .expect("32 bytes are 44 characters of base64");
            out.extend(if i == 0 { "v1," } else { " v1," }.bytes());
            out.extend(encoded[..n].iter().copied());
        }
    }

    /// Keys in the rotation; at least 1.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys, redacted)", self.keys.len())
    }
}

/// 32 bytes of SHA-256: ceil(32 / 3) * 4.
const ENCODED_BYTES: usize = 44;

/// Secrets are copied by hand, and some tools drop the padding.
const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes 0..32.
    const OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    /// Bytes 100..124.
    const NEW: &str = "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7";

    fn signed(secrets: &[&str], id: &str, timestamp: &str, body: &[u8]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|s| s.parse().unwrap()).collect();
        let mut out = Vec::new();
        Signer::new(&secrets).unwrap().sign(id, timestamp, body, &mut out);
        String::from_utf8(out).unwrap()
    }

    // The expected values were computed with Python's hmac module:
    // base64.b64encode(hmac.new(key, b"id.timestamp." + body, hashlib.sha256).digest())
    #[test]
    fn known_answers_of_an_independent_implementation() {
        assert_eq!(
            signed(&[OLD], "msg_1", "1700000000", b"{\"a\":1}"),
            "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4="
        );
        assert_eq!(signed(&[NEW], "0198c5d2-7b1e", "1", b""), "v1,lI+y1ZT2vZyody9YC95bO4PUiOYS4vT9rGcgNUyT1c4=");
        assert_eq!(
            signed(&[OLD], "x", "1700000000", &[0, 255, 128, 10]),
            "v1,/kRfG4Df67qbljy3m3a5nxJJSc66Jn19cnUu4QxJnS0="
        );
    }

    #[test]
    fn the_example_of_the_specification() {
        let signature = signed(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            b"{\"test\": 2432232314}",
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_rotation_signs_with_every_key_newest_first() {
        let both = signed(&[NEW, OLD], "msg_1", "1700000000", b"{\"a\":1}");
        let (new, old) =
            (signed(&[NEW], "msg_1", "1700000000", b"{\"a\":1}"), signed(&[OLD], "msg_1", "1700000000", b"{\"a\":1}"));
        assert_eq!(both, format!("{new} {old}"));
    }

    #[test]
    fn padding_may_be_missing_and_white_space_is_ignored() {
        let expect = signed(&[OLD], "a", "1", b"b");
        assert_eq!(signed(&[OLD.trim_end_matches('=')], "a", "1", b"b"), expect);
        assert_eq!(signed(&[&format!(" {OLD}\n")], "a", "1", b"b"), expect);
    }

    #[track_caller]
    fn refused(text: &str, expect: SecretError) {
        assert_eq!(text.parse::<Secret>().unwrap_err(), expect, "{text}");
    }

    #[test]
    fn what_is_no_secret_is_refused_with_the_reason() {
        refused("", SecretError::Prefix);
        refused("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix);
        refused("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix);
        refused("whsec_%%%%", SecretError::Base64);
        refused("whsec_", SecretError::Length(0));
        refused(&format!("whsec_{}", STANDARD.encode([7; 23])), SecretError::Length(23));
        refused(&format!("whsec_{}", STANDARD.encode([7; 65])), SecretError::Length(65));
        for n in [24, 64] {
            assert!(format!("whsec_{}", STANDARD.encode(vec![7; n])).parse::<Secret>().is_ok(), "{n} bytes");
        }
    }

    #[test]
    fn debug_output_shows_nothing_of_a_secret() {
        let secret: Secret = OLD.parse().unwrap();
        let signer = Signer::new([&secret]).unwrap();
        assert_eq!(format!("{secret:?} {signer:?}"), "Secret(redacted) Signer(1 keys, redacted)");
        assert!(Signer::new([]).is_none(), "no keys, no signer");
    }
}

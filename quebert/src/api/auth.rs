//! Who may do what: bearer tokens with roles, or, without any token, whoever is on this machine and no web page of
//! another site. It keeps no sessions and sets no cookies.

use super::problem::{Code, Fault};
use crate::config::{Api, ApiRole};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use sha2::{Digest as _, Sha256};
use std::{net::IpAddr, sync::Arc};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// Lets requests in, or doesn't.
#[derive(Debug)]
pub(super) struct Gate {
    /// Empty is everybody on this machine.
    keys: Vec<Key>,
}

/// One token. Only its hash is kept: what is compared has one length, and no memory dump tells the token.
#[derive(Debug)]
struct Key {
    name: Arc<str>,
    roles: Roles,
    digest: [u8; 32],
}

/// Whoever asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The token's name in the config; `None` where there are no tokens.
    pub(super) name: Option<Arc<str>>,
    /// What it may do.
    pub(super) roles: Roles,
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roles(u8);

impl Roles {
    const ALL: Self = Self(0b111);

    fn of(role: ApiRole) -> Self {
        match role {
            ApiRole::Enqueue => Self(0b001),
            ApiRole::Read => Self(0b010),
            ApiRole::Operate => Self(0b100),
        }
    }

    fn has(self, role: ApiRole) -> bool {
        self.0 & Self::of(role).0 != 0
    }

    /// Their names.
    pub(super) fn names(self) -> Vec<String> {
        let all = [ApiRole::Enqueue, ApiRole::Read, ApiRole::Operate];
        all.into_iter().filter(|role| self.has(*role)).map(|role| name(role).to_owned()).collect()
    }
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: the console's files and the API's description, which are in the public source as well.
    Nothing,
    /// A valid token of any role.
    AnyRole,
    /// A token with this role.
    Role(ApiRole),
}

impl Need {
    /// Decided here for all paths, so that a handler that is added can't be forgotten: what is not listed and changes
    /// something needs `operate`.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/v1") else { return Self::Nothing };
        match (method.as_str(), rest) {
            ("GET" | "HEAD", "/openapi.json") => Self::Nothing,
            ("GET" | "HEAD", "/status") => Self::AnyRole,
            ("GET" | "HEAD", _) => Self::Role(ApiRole::Read),
            ("POST", "/tasks" | "/tasks/batch") => Self::Role(ApiRole::Enqueue),
            ("POST" | "DELETE", _) => Self::Role(ApiRole::Operate),
            // Answered with 405, but not to strangers.
            _ => Self::AnyRole,
        }
    }

    /// The role's name, if it is about one.
    pub(super) fn role(self) -> Option<&'static str> {
        match self {
            Self::Role(role) => Some(name(role)),
            Self::Nothing | Self::AnyRole => None,
        }
    }
}

impl Gate {
    /// As the config says.
    pub(super) fn new(config: &Api) -> Self {
        let keys = config.tokens.iter().flat_map(|token| {
            let roles = Roles(token.roles.iter().fold(0, |bits, role| bits | Roles::of(*role).0));
            let name: Arc<str> = token.name.as_str().into();
            token.tokens.iter().map(move |secret| Key {
                name: name.clone(),
                roles,
                digest: Sha256::digest(secret.expose()).into(),
            })
        });
        Self { keys: keys.collect() }
    }

    /// Whether a request may come in, and who asks.
    pub(super) fn admit(&self, request: &Parts) -> Result<Caller, Fault> {
        let need = Need::of(&request.method, request.uri.path());
        if self.keys.is_empty() {
            local(request, need)?;
            return Ok(Caller { name: None, roles: Roles::ALL });
        }
        if need == Need::Nothing {
            return Ok(Caller { name: None, roles: Roles(0) });
        }
        let caller = self.caller(&request.headers)?;
        match need {
            Need::Role(role) if !caller.roles.has(role) => Err(Fault::new(
                Code::Forbidden,
                format!("this needs the role {}, which this token does not have", name(role)),
            )),
            _ => Ok(caller),
        }
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        let missing = "send a token as `Authorization: Bearer <token>`";
        let value = only(headers, &header::AUTHORIZATION).unwrap_or_default();
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => token.trim(),
            _ => return Err(Fault::new(Code::Unauthorized, missing)),
        };
        let digest: [u8; 32] = Sha256::digest(token).into();
        // Every key is looked at, whichever fits, so that time tells nothing of which one did.
        let (mut found, mut at) = (Choice::from(0), 0);
        for (i, key) in (0_u32..).zip(&self.keys) {
            let same = key.digest.ct_eq(&digest);
            at.conditional_assign(&i, same);
            found |= same;
        }
        if !bool::from(found) {
            return Err(Fault::new(Code::Unauthorized, "the token is not known"));
        }
        let key = &self.keys[at as usize];
        Ok(Caller { name: Some(key.name.clone()), roles: key.roles })
    }
}

/// Without tokens only loopback is served (the config holds that). A browser on this machine is the remaining way in for
/// strangers: a page may have its own name resolve to 127.0.0.1, or just send requests to it.
fn local(request: &Parts, need: Need) -> Result<(), Fault> {
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => only(&request.headers, &header::HOST).unwrap_or_default(),
    };
    if !is_loopback(host) {
        return Err(Fault::new(
            Code::UntrustedHost,
            "without tokens only requests to localhost, 127.0.0.1 or [::1] are answered",
        ));
    }
    if need == Need::Nothing {
        return Ok(());
    }
    let own = |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes());
    let origin_is_other = !request.headers.get_all(header::ORIGIN).iter().all(own);
    let site_is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    let site_is_other = !request.headers.get_all(SEC_FETCH_SITE).iter().all(site_is_own);
    if origin_is_other || site_is_other {
        return Err(Fault::new(Code::CrossSite, "a page of another site may not ask this; with tokens it could"));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

const fn name(role: ApiRole) -> &'static str {
    match role {
        ApiRole::Enqueue => "enqueue",
        ApiRole::Read => "read",
        ApiRole::Operate => "operate",
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

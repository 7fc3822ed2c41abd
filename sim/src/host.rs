//! The hosts of a world, by their roles. It knows nothing of what runs on them.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A host. Its text (`dispatcher-2`) is its name on the simulated network, in cases, traces and pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// A node of the broker, counted from 1.
    Broker(u8),
    /// A process that dispatches, counted from 1.
    Dispatcher(u8),
    /// A server that executes, counted from 1.
    Executor(u8),
    /// A process that enqueues, counted from 1.
    Producer(u8),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(n) => write!(f, "broker-{n}"),
            Self::Dispatcher(n) => write!(f, "dispatcher-{n}"),
            Self::Executor(n) => write!(f, "executor-{n}"),
            Self::Producer(n) => write!(f, "producer-{n}"),
        }
    }
}

/// It is no host's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host: broker-N, dispatcher-N, executor-N or producer-N is, with N from 1 to 255")]
pub struct NoHost(String);

impl FromStr for Host {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let no = || NoHost(text.to_owned());
        let (role, number) = text.rsplit_once('-').ok_or_else(no)?;
        let number = number.parse::<u8>().ok().filter(|n| *n > 0).ok_or_else(no)?;
        match role {
            "broker" => Ok(Self::Broker(number)),
            "dispatcher" => Ok(Self::Dispatcher(number)),
            "executor" => Ok(Self::Executor(number)),
            "producer" => Ok(Self::Producer(number)),
            _ => Err(no()),
        }
    }
}

impl TryFrom<String> for Host {
    type Error = NoHost;

    fn try_from(text: String) -> Result<Self, NoHost> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_read_as_it_is_written() {
        for host in [Host::Broker(1), Host::Dispatcher(255), Host::Executor(7), Host::Producer(2)] {
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        for text in ["broker", "broker-0", "broker-256", "queue-1", "-1", ""] {
            assert_eq!(text.parse::<Host>(), Err(NoHost(text.to_owned())));
        }
    }
}

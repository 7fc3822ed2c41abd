//! A durable broker in this process, on one file: the queue core over redb. It serves one machine; RabbitMQ serves more.

mod admin;
mod broker;
mod cache;
mod clients;
mod desk;
mod disk;
mod file;
mod inbox;
mod journal;
mod look;
mod once;
mod record;
mod recovery;
mod shield;
#[cfg(feature = "simulation")]
pub mod simulation;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod trouble;

pub use broker::EmbeddedBroker;
pub use look::{Look, look};

use std::{path::PathBuf, sync::Arc};

/// What an embedded broker goes by.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The folder of its file; made if it is not there. One process at a time may use it.
    pub folder: PathBuf,
    /// Work queues, with their dead letters; made if they are not there.
    pub queues: Vec<Arc<str>>,
    /// Most messages in one work queue, delivered ones among them; more are refused. Dead letters and moves of tasks that
    /// are in already are always taken.
    pub queue_messages_max: u64,
    /// Most bytes of one message, body and headers.
    pub message_bytes_max: usize,
    /// Most bytes of everything that is stored, dead letters too; more is refused, save moves.
    pub total_bytes_max: u64,
    /// Most idempotency keys, some 256 bytes of the file each. Beyond it those that end first are forgotten.
    pub idempotency_keys_max: u64,
    /// Bytes of waiting messages that are kept in memory besides the file.
    pub cache_bytes: usize,
    /// A task that was under way at more crashes of the process than this is buried.
    pub delivery_limit: u32,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("quebert-data"),
            queues: Vec::new(),
            queue_messages_max: 10_000_000,
            message_bytes_max: 8 << 20,
            total_bytes_max: 64 << 30,
            idempotency_keys_max: 1_000_000,
            cache_bytes: 64 << 20,
            delivery_limit: 50,
        }
    }
}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process uses the folder.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or is no store of ours. It is left as it is.
    #[error("{path} is damaged or no store of Quebert's: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In the store's words.
        detail: String,
    },
    /// The folder or file can't be read or written.
    #[error("open {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

//! Quebert: HTTP push task queues, on one machine from one binary, on many with RabbitMQ.
//!
//! This crate is the program and the facade of the library. [`App`] puts a dispatcher together from a [`Config`] and
//! your own [`Mediator`]s; whoever wants to put it together otherwise finds the parts in [`dispatcher`], [`wire`] and
//! [`adapters`].

pub mod admin;
pub mod api;
mod app;
mod bare;
pub mod cli;
pub mod compose;
pub mod config;
pub mod intake;
pub mod letter;
pub mod logs;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod sample;
pub mod signals;

/// Whether the dispatcher is ready for work: what /readyz says.
pub mod health {
    pub use quebert_metrics::Health;
}

pub use app::{App, Running};
pub use bare::BareAdmin;
pub use config::Config;
pub use quebert_broker_adapter as adapters;
pub use quebert_dispatcher as dispatcher;
pub use quebert_dispatcher::{
    event::{Event, Settlement},
    memory::MemoryBroker,
    outcome::Outcome,
    ports::{
        broker::{Broker, Target},
        mediator::{Attempt, Before, Mediator},
        observer::Observer,
    },
    shell::{Handle, Summary},
    verdict::{BuryReason, Retry, RetryAfter, RetryReason, Verdict},
};
pub use quebert_wire as wire;
pub use quebert_wire::{Codec, Codecs, Envelope, Json, Message, Task, TaskId, Timestamp};

//! A run: from a profile to a report, as one function ([`run`]), or step by step ([`Session`]) for whoever wants to do
//! something to the system in the meantime. It prints nothing.

mod attribution;
mod config;
mod evidence;
mod place;
mod profile;
mod session;
mod sum;
mod watch;

pub use config::{Config, ConfigError};
pub use profile::Profile;
pub(crate) use session::tell_outages;
pub use session::{RunError, Session, Standing, run};
pub use watch::Live;

//! The HTTP transport: hyper's connections under a small pool of our own.
//!
//! Decides nothing about retries: what an outcome means is the core's to say.

mod cidr;
mod config;
mod conn;
mod connect;
mod failure;
mod guard;
mod pool;
mod stream;
mod tls;
mod transport;

pub use cidr::{Cidr, CidrError};
pub use config::{BodyOver, HttpConfig};
pub use connect::{Connect, ConnectError, Connected, Target, TcpConnector};
pub use guard::{AddressGuard, Forbidden};
pub use stream::Stream;
pub use tls::{TlsClient, TlsError, TlsSettings};
pub use transport::HttpTransport;

//! What both worlds promise, on small programs. What only one of them can is in its own file.

mod fast;
mod script;

use super::{Kind, Link, Net, Stream};
use crate::host::Host;
use script::{Notes, Scene, ms};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ONE: Host = Host::Dispatcher(1);
const OTHER: Host = Host::Executor(1);

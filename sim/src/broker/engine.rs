//! What serves the clients' questions: the port between the cluster, which knows nodes and connections, and what keeps the
//! messages.

use super::{
    cluster::{At, Knobs},
    conns::{ConnNo, Conns},
    wire::Ask,
};
use crate::{host::Host, net::Down};
use std::{sync::Arc, time::Duration};

/// Keeps messages, and writes the truth about them into the book.
pub(super) trait Engine: Send {
    /// Makes a work queue with its dead letters, if it is not there.
    fn declare(&mut self, queue: &Arc<str>);

    /// Sets what is wrong from now on.
    fn set(&mut self, knobs: &Knobs);

    /// Whether it serves. One that was restarted may need its time.
    fn is_open(&self) -> bool;

    /// A connection begins.
    fn welcome(&mut self, at: At, conns: &mut Conns, conn: ConnNo);

    /// A client asks for something.
    fn ask(&mut self, at: At, conns: &mut Conns, conn: ConnNo, ask: Ask);

    /// Cancels a client's consumers of a work queue.
    fn cancel(&mut self, at: At, conns: &mut Conns, client: Host, queue: &str);

    /// A connection is no more.
    fn gone(&mut self, at: At, conns: &mut Conns, conn: ConnNo);

    /// Does what is due. Says when more is.
    fn tick(&mut self, at: At, conns: &mut Conns) -> Option<Duration>;

    /// Whether something is due before `tick` said.
    fn is_earlier(&self) -> bool;

    /// The leader is no more. `how` it went down, unless another one just leads from now on.
    fn crash(&mut self, at: At, how: Option<Down>);

    /// A leader leads.
    fn resume(&mut self, at: At);
}

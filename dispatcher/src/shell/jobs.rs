//! What is under way for the core, as futures that end in its next input. A request costs no allocation of its own.

use crate::{
    core::{Input, TicketId},
    outcome::Outcome,
    ports::{BoxFuture, mediator::Attempt},
};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// One thing under way.
pub(super) enum Job {
    Sending { ticket: TicketId, attempt: Option<Box<Attempt>>, answer: BoxFuture<'static, Outcome> },
    Other(BoxFuture<'static, Input>),
}

impl Job {
    pub(super) fn sending(ticket: TicketId, attempt: Box<Attempt>, answer: BoxFuture<'static, Outcome>) -> Self {
        Self::Sending { ticket, attempt: Some(attempt), answer }
    }

    pub(super) fn boxed(future: impl Future<Output = Input> + Send + 'static) -> Self {
        Self::Other(Box::pin(future))
    }
}

impl Future for Job {
    type Output = Input;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Input> {
        match &mut *self {
            Self::Sending { ticket, attempt, answer } => {
                let outcome = ready!(answer.as_mut().poll(cx));
                let attempt = attempt.take().expect("a future is not polled after its end");
                Poll::Ready(Input::Answered { ticket: *ticket, attempt, outcome })
            }
            Self::Other(future) => future.as_mut().poll(cx),
        }
    }
}

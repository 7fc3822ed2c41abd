//! Which task an entry is about, where it does not say so itself: a delivery names a copy, an answer a request. It invents
//! nothing: what belongs to no task stays without one.

use crate::{
    history::{CopyNo, Entry, TaskNo, What},
    host::Host,
};
use quebert_dispatcher::event::Event;
use std::collections::BTreeMap;

/// Follows copies and requests through a history.
#[derive(Debug, Default)]
pub struct About {
    copies: BTreeMap<CopyNo, TaskNo>,
    requests: BTreeMap<(Host, u64), TaskNo>,
}

impl About {
    /// The task of the next entry. Entries must come in their order.
    pub fn next(&mut self, entry: &Entry) -> Option<TaskNo> {
        match &entry.what {
            What::Offered { task, .. } | What::Confirmed { task } | What::NotConfirmed { task, .. } => Some(*task),
            What::Stored { copy, task, .. } | What::Revived { copy, task, .. } => {
                if let Some(task) = task {
                    self.copies.insert(*copy, *task);
                }
                *task
            }
            What::BuriedByBroker { copy, dead } => {
                let task = self.copies.get(copy).copied();
                if let Some(task) = task {
                    self.copies.insert(*dead, task);
                }
                task
            }
            What::Delivered { copy, .. }
            | What::Acked { copy, .. }
            | What::Returned { copy, .. }
            | What::Unstored { copy }
            | What::Answered { copy: Some(copy), .. } => self.copies.get(copy).copied(),
            What::Request { task, request, .. } => {
                self.requests.insert((entry.host, *request), *task);
                Some(*task)
            }
            What::Reply { request, .. } => self.requests.get(&(entry.host, *request)).copied(),
            What::Event(event) => of_event(event),
            _ => None,
        }
    }
}

/// The task of each entry, in their order.
pub fn about(entries: &[Entry]) -> Vec<Option<TaskNo>> {
    let mut about = About::default();
    entries.iter().map(|entry| about.next(entry)).collect()
}

/// The lines of a task, in their order.
pub fn lines_about(entries: &[Entry], task: TaskNo) -> Vec<String> {
    let mut about = About::default();
    let mine = entries.iter().filter(|entry| about.next(entry) == Some(task));
    mine.map(|entry| {
        let mut text = String::new();
        super::line(entry, &mut text);
        text
    })
    .collect()
}

fn of_event(event: &Event) -> Option<TaskNo> {
    let id = match event {
        Event::Settled { task, .. } | Event::Buried { task, .. } => task.as_ref()?,
        Event::AttemptStarted { task, .. }
        | Event::AttemptEnded { task, .. }
        | Event::RetryScheduled { task, .. }
        | Event::Expired { task, .. }
        | Event::DelayedCancelled { task, .. } => task,
        _ => return None,
    };
    TaskNo::of_id(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Exec, work::Reply};
    use quebert_dispatcher::ports::broker::Target;
    use std::time::Duration;

    #[test]
    fn copies_and_requests_lead_to_their_task() {
        let entry = |host, what| Entry { at: Duration::ZERO, host, what };
        let (broker, executor, dispatcher) = (Host::Broker(1), Host::Executor(1), Host::Dispatcher(1));
        let target = Target::Queue("high".into());
        let task = Some(TaskNo(3));
        let delivery = "1-1".into();
        let entries = [
            entry(broker, What::Stored { copy: CopyNo(1), target, task, by: dispatcher, attempts: 0 }),
            entry(broker, What::Returned { copy: CopyNo(1), why: "crash" }),
            entry(broker, What::BuriedByBroker { copy: CopyNo(1), dead: CopyNo(2) }),
            entry(broker, What::Acked { copy: CopyNo(2), by: broker }),
            entry(broker, What::Acked { copy: CopyNo(9), by: broker }),
            entry(
                executor,
                What::Request {
                    task: TaskNo(3),
                    attempt: 1,
                    delivery,
                    request: 8,
                    redelivered: false,
                    intact: true,
                    exec: Exec { after_ms: 0, reply: Reply::Status(200) },
                },
            ),
            entry(executor, What::Reply { request: 8, status: Some(200) }),
            entry(Host::Executor(2), What::Reply { request: 8, status: Some(200) }),
        ];
        assert_eq!(about(&entries), [task, task, task, task, None, task, task, None]);
    }
}

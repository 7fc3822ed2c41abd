//! The world's own mediator: does what each task's `hook` says. It is what shows that a failing hook breaks nothing.

use crate::{
    case::{Case, work::HookSpec},
    history::TaskNo,
};
use quebert_dispatcher::{
    outcome::Outcome,
    ports::mediator::{Attempt, Before, Mediator},
    verdict::Verdict,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What the hooks of a world have done: it outlives dispatchers, as a database that hooks write to would.
#[derive(Clone, Default)]
pub(super) struct HookBook(Arc<Mutex<BTreeSet<TaskNo>>>);

/// The mediator of one dispatcher.
pub(super) struct CaseMediator {
    hooks: BTreeMap<TaskNo, HookSpec>,
    limit: Duration,
    put_off: HookBook,
}

impl CaseMediator {
    /// For the tasks of a case.
    pub(super) fn new(case: &Case, put_off: HookBook) -> Self {
        let hooks = case.tasks.iter().filter_map(|task| Some((task.no, task.hook?))).collect();
        Self { hooks, limit: Duration::from_millis(case.world.dispatcher.hook_timeout_ms), put_off }
    }

    fn hook(&self, attempt: &Attempt) -> Option<(TaskNo, HookSpec)> {
        let task = TaskNo::of_id(attempt.task.id.as_str())?;
        Some((task, *self.hooks.get(&task)?))
    }
}

impl Mediator for CaseMediator {
    fn name(&self) -> &'static str {
        "case"
    }

    async fn before(&self, attempt: &mut Attempt) -> Before {
        let Some((task, hook)) = self.hook(attempt) else { return Before::Send };
        match hook {
            HookSpec::Drop => Before::Drop,
            HookSpec::Bury => Before::Bury("the case says so".to_owned()),
            HookSpec::PutOff { ms } => {
                let first = self.put_off.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
                if first { Before::PutOff(Duration::from_millis(ms)) } else { Before::Send }
            }
            HookSpec::Panic { until } if attempt.number <= until => std::panic::panic_any(Expected),
            HookSpec::Hang { until } if attempt.number <= until => {
                tokio::time::sleep(self.limit * 2).await;
                Before::Send
            }
            HookSpec::Panic { .. } | HookSpec::Hang { .. } | HookSpec::PanicAfter => Before::Send,
        }
    }

    async fn after(&self, attempt: &Attempt, _outcome: &Outcome, _verdict: &Verdict) {
        if let Some((_, HookSpec::PanicAfter)) = self.hook(attempt) {
            std::panic::panic_any(Expected);
        }
    }
}

/// What the panics of a case's hooks carry: the panic hook says nothing about them.
#[derive(Debug)]
pub struct Expected;

/// Keeps the panics that a case asks for out of the output. Once a process.
pub fn hush_expected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Expected>() {
                default(info);
            }
        }));
    });
}

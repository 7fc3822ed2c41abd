//! A test of a mediator in the simulation, to begin with: copy it, and put your own mediator in.

use quebert_dispatcher::ports::mediator::{Attempt, Before, Mediator};
use quebert_sim::{Faults, Finding, Workload, World, history::What};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// Your mediator: here one that drops tasks of customers who have left.
struct OnlyCustomers {
    left: Arc<Mutex<BTreeSet<String>>>,
}

impl Mediator for OnlyCustomers {
    fn name(&self) -> &str {
        "only-customers"
    }

    async fn before(&self, attempt: &mut Attempt) -> Before {
        let customer = attempt.task.headers.get("customer").and_then(|name| name.to_str().ok());
        let left = self.left.lock().expect("nobody panics with it");
        if customer.is_some_and(|customer| left.contains(customer)) { Before::Drop } else { Before::Send }
    }
}

#[test]
fn my_mediator_survives() {
    // What outlives dispatchers, as a database would.
    let left = Arc::new(Mutex::new(BTreeSet::from(["ada".to_owned()])));
    World::builder()
        .dispatchers(2)
        .executors(3)
        .workload(Workload::swarm(40))
        .envelope(|task, envelope| {
            let customer = if task.no.0 % 5 == 0 { "ada" } else { "grace" };
            envelope.headers.insert("customer".to_owned(), customer.into());
        })
        .faults(Faults::swarm())
        .mediator(move |_env| OnlyCustomers { left: left.clone() })
        .oracle("nothing is sent for who has left", |_case, entries| {
            let sent = entries.iter().filter_map(|entry| match entry.what {
                What::Request { task, .. } if task.0 % 5 == 0 => Some(Finding::of(task, entry.at, "it was sent")),
                _ => None,
            });
            sent.collect()
        })
        .seeds(1..=10)
        .check();
}

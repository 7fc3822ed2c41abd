//! Rivals in other languages, as programs beside this file. Each takes its orders from the environment and reports like the
//! contestants here.

use crate::{Contestant, Fault, run::Orders};
use std::path::Path;
use tokio::process::Command;

/// A rival's program with its orders; `None` if the contestant is one of ours.
pub(crate) fn command(orders: &Orders) -> Result<Option<Command>, Fault> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (scripts, libraries) = (here.join("benches/dispatch/peers"), here.join("../target/peers/rivals"));
    let (program, script) = match orders.contestant {
        Contestant::Shipped | Contestant::Batch | Contestant::Single => return Ok(None),
        Contestant::Node => ("node".into(), "node.mjs"),
        Contestant::Aio => (libraries.join("venv/bin/python"), "aio.py"),
        Contestant::Celery => (libraries.join("venv/bin/python"), "celery_worker.py"),
    };
    if !libraries.exists() {
        return Err("the rivals' libraries are missing: scripts/bench-rivals installs them".into());
    }
    let others: Vec<String> = orders.others.iter().map(u32::to_string).collect();
    let mut command = Command::new(program);
    command
        .arg(scripts.join(script))
        .env("LIBRARIES", libraries)
        .env("BROKER", &orders.broker)
        .env("QUEUE", &orders.queue)
        .env("WINDOW", orders.window.to_string())
        .env("WARM_UP", orders.warm_up.to_string())
        .env("TASKS", orders.tasks.to_string())
        .env("OTHERS", others.join(","));
    Ok(Some(command))
}

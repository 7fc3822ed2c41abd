//! What all contestants share: a private broker, and the stub in a process of its own.

use crate::{Contestant, Fault, Kind, Options, load::Queue, run::Orders};
use quebert_broker_adapter::testing::PrivateRabbit;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// Ends with all its processes.
pub(crate) struct World {
    pub(crate) rabbit: PrivateRabbit,
    kind: Kind,
    stub: Child,
    stub_port: u16,
}

impl World {
    pub(crate) async fn start(kind: Kind) -> Result<Self, Fault> {
        let rabbit = PrivateRabbit::start().await?;
        let mut stub = myself()?.arg("stub").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(stub.stdout.take().expect("piped")).read_line(&mut line)?;
        let stub_port = line.trim().parse()?;
        Ok(Self { rabbit, kind, stub, stub_port })
    }

    /// An empty queue.
    pub(crate) async fn queue(&self) -> Result<Queue, Fault> {
        Queue::declare(&self.rabbit.url(), self.kind).await
    }

    /// What a contestant is told, as far as nothing else is to be measured: to take tasks from this queue until it is
    /// killed, with the window of the options.
    pub(crate) fn orders(&self, options: &Options, contestant: Contestant, queue: &Queue) -> Orders {
        Orders {
            contestant,
            broker: self.rabbit.url(),
            queue: queue.name.clone(),
            window: options.window,
            slots: options.window.into(),
            warm_up: 0,
            tasks: 0,
            workers: options.workers,
            others: Vec::new(),
            ca: None,
        }
    }

    /// Where requests go to.
    pub(crate) fn executor(&self) -> String {
        format!("http://127.0.0.1:{}", self.stub_port)
    }

    pub(crate) fn broker_pid(&self) -> u32 {
        self.rabbit.pid().expect("the node runs")
    }

    pub(crate) fn stub_pid(&self) -> u32 {
        self.stub.id()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stub.kill());
        drop(self.stub.wait());
    }
}

/// This program, to be started in another role.
pub(crate) fn myself() -> Result<Command, Fault> {
    Ok(Command::new(std::env::current_exe()?))
}

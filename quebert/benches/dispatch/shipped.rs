//! Quebert as it is shipped, from a config. Adds nothing but an observer that counts.

use crate::{
    Fault,
    run::{Orders, Progress},
};
use quebert::{App, Config, Event, Observer};
use std::{sync::Arc, time::Duration};

struct Counter(Arc<Progress>);

impl Observer for Counter {
    fn observe(&self, event: &Event) {
        if let Event::Settled { .. } = event {
            self.0.one_done();
        }
    }
}

pub(crate) async fn run(orders: &Orders, progress: Arc<Progress>) -> Result<(), Fault> {
    let Orders { broker, queue, window, slots, ca, .. } = orders;
    let ca = ca.as_ref().map_or(String::new(), |ca| format!("[http]\nca_file = {:?}", ca.display().to_string()));
    let config = Config::from_toml(&format!(
        r#"
        [broker]
        url = "{broker}"
        [topology]
        declare = false
        queue_type = "classic"
        exchange = ""
        [lanes.bench]
        queue = "{queue}"
        window = {window}
        slots_max = {slots}
        attempt_timeout = "30s"
        [pool]
        slots = {slots}
        [destinations]
        slots = {slots}
        {ca}
        [http.guard]
        enabled = false
        [log]
        level = "warn"
        "#
    ))?;
    quebert::logs::start(config.log_level, config.log_format);
    let mut running = App::new(config).observer(Counter(progress.clone())).start()?;
    tokio::spawn(running.watch());
    progress.end().await;
    running.handle.drain(Duration::ZERO);
    running.end().await;
    Ok(())
}

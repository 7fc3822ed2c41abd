//! A producer as users write it: any AMQP client, JSON, persistent messages, confirms. It shares no code with the
//! dispatcher's adapter, and never publishes a task twice: one without a confirm has an open fate, and is not missed.

use super::ledger::{Ledger, Moment};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use std::time::Duration;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

/// Unconfirmed publishes at a time.
const WINDOW: usize = 200;
/// A confirm that takes longer counts as none.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// Limit of a connect with its handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One task to publish.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) queue: String,
    pub(crate) delay: Option<Duration>,
}

/// Publishes `plans`, `rate` a second, through whatever happens to the broker; ends when each has its confirm or will
/// have none.
pub(crate) fn publish(url: String, target: String, ledger: Ledger, plans: Vec<Plan>, rate: f64) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut confirms = JoinSet::new();
        let mut session = None;
        let mut next_at = Instant::now();
        for plan in plans {
            sleep_until(next_at).await;
            next_at = next_at.max(Instant::now() - Duration::from_millis(100)) + Duration::from_secs_f64(1.0 / rate);
            let (_, channel) = match session.take().filter(|(_, channel): &(_, Channel)| channel.status().connected()) {
                Some(open) => session.insert(open),
                None => session.insert(connect(&url).await),
            };
            let not_before = plan.delay.map(|delay| Moment::now().plus(delay).whole_millis());
            ledger.publishes(&plan.id, not_before);
            let mut envelope = serde_json::json!({ "id": plan.id, "url": format!("{target}/{}", plan.id) });
            if let Some(due) = not_before {
                envelope["not_before"] = due.as_millis().into();
            }
            let body = envelope.to_string();
            let properties =
                BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
            let published = channel.basic_publish(
                "".into(),
                plan.queue.into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties,
            );
            // An error here is an unconfirmed task; the next round connects again.
            if let Ok(Ok(confirm)) = timeout(CONFIRM_LIMIT, published).await {
                let (ledger, id) = (ledger.clone(), plan.id);
                confirms.spawn(async move {
                    if let Ok(Ok(Confirmation::Ack(None))) = timeout(CONFIRM_LIMIT, confirm).await {
                        ledger.confirmed(&id);
                    }
                });
            }
            while confirms.len() >= WINDOW {
                confirms.join_next().await;
            }
        }
        while confirms.join_next().await.is_some() {}
    })
}

/// Tries until there is a channel that confirms.
async fn connect(url: &str) -> (Connection, Channel) {
    loop {
        let opened = timeout(CONNECT_LIMIT, async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>((connection, channel))
        });
        match opened.await {
            Ok(Ok(session)) => return session,
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::ProtocolError(_)) => panic!("refused: {error}"),
            // The broker is down, for now.
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

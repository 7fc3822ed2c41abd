//! The minimal loop: what one would write by hand with lapin and hyper, and nothing else. It loses tasks in every way
//! that Quebert does not: no retries, no timeouts, no reconnecting.

use crate::{
    Fault,
    run::{Orders, Progress},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lapin::{
    Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// The longest that an ack waits for company.
const COMPANY_WAIT: Duration = Duration::from_millis(1);

#[derive(Deserialize)]
struct Task<'a> {
    url: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) async fn run(orders: &Orders, batch: bool, progress: Arc<Progress>) -> Result<(), Fault> {
    let connection = Connection::connect(&orders.broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(orders.window, BasicQosOptions::default()).await?;
    let queue = orders.queue.as_str().into();
    let mut consumer =
        channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Http =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(usize::from(orders.window)).build(connector);
    let (settled, to_ack) = mpsc::channel(usize::from(orders.window));
    let acks =
        batch.then(|| tokio::spawn(ack_in_batches(channel.clone(), to_ack, usize::from(orders.window).div_ceil(4))));
    let loop_ = async {
        while let Some(delivery) = consumer.next().await {
            let (http, settled, progress) = (http.clone(), batch.then(|| settled.clone()), progress.clone());
            tokio::spawn(async move {
                if let Err(error) = handle(delivery?, &http, settled.as_ref()).await {
                    eprintln!("{error}");
                }
                progress.one_done();
                Ok::<(), lapin::Error>(())
            });
        }
    };
    tokio::select! {
        () = loop_ => return Err("the consumer ended".into()),
        () = progress.end() => {}
    }
    if let Some(acks) = acks {
        drop(settled);
        acks.await??;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn handle(delivery: Delivery, http: &Http, settled: Option<&mpsc::Sender<u64>>) -> Result<(), Fault> {
    let task: Task<'_> = serde_json::from_slice(&delivery.data)?;
    let body = Bytes::copy_from_slice(task.body.get().as_bytes());
    let request = Request::post(task.url).header("content-type", "application/json").body(Full::new(body))?;
    let response = http.request(request).await?;
    let success = response.status().is_success();
    response.into_body().collect().await?;
    if !success {
        return Err("not a success".into());
    }
    match settled {
        Some(settled) => settled.send(delivery.delivery_tag).await?,
        None => drop(delivery.acker.ack(BasicAckOptions::default()).await?),
    }
    Ok(())
}

/// One ack up to the contiguous prefix, and one by one behind it.
async fn ack_in_batches(channel: Channel, mut settled: mpsc::Receiver<u64>, batch: usize) -> Result<(), lapin::Error> {
    let mut done = BTreeSet::new();
    let mut tags = Vec::new();
    let mut next = 1;
    while settled.recv_many(&mut tags, batch).await > 0 {
        let company = async { while tags.len() < batch && settled.recv_many(&mut tags, batch).await > 0 {} };
        drop(tokio::time::timeout(COMPANY_WAIT, company).await);
        done.extend(tags.drain(..));
        let mut prefix = None;
        while done.first() == Some(&next) {
            prefix = done.pop_first();
            next += 1;
        }
        if let Some(tag) = prefix {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}

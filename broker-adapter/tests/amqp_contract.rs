//! The broker port's contract, on a real RabbitMQ.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    amqp::{LaneTopology, QueueType, RabbitBroker, RabbitConfig, Topology},
    testing::PrivateRabbit,
};
use quebert_dispatcher::ports::{
    BoxFuture,
    contract::{self, Harness},
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::OnceCell;

/// One node for all tests here, each in a virtual host of its own. The node's guard ends it with this process.
static NODE: OnceCell<PrivateRabbit> = OnceCell::const_new();

struct OnRabbit {
    node: &'static PrivateRabbit,
    vhost: String,
    queue_type: QueueType,
    count: AtomicU32,
}

async fn harness(vhost: &str, queue_type: QueueType) -> OnRabbit {
    let node = NODE.get_or_init(|| async { PrivateRabbit::start().await.unwrap() }).await;
    node.add_vhost(vhost).await.unwrap();
    OnRabbit { node, vhost: vhost.into(), queue_type, count: AtomicU32::new(0) }
}

impl Harness for OnRabbit {
    type Broker = RabbitBroker;

    fn fresh_name(&self) -> Arc<str> {
        format!("work-{}", self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    async fn client(&self, queues: &[Arc<str>]) -> RabbitBroker {
        let lanes = queues.iter().map(|queue| LaneTopology::of(&**queue)).collect();
        let topology = Topology { lanes, queue_type: self.queue_type, ..Topology::default() };
        let urls = vec![self.node.url_of(&self.vhost)];
        RabbitBroker::new(RabbitConfig { urls, topology, ..RabbitConfig::default() }).unwrap()
    }

    fn cut(&self) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(async {
            let args = ["close_all_connections", "--vhost", &self.vhost, "cut by a test"];
            self.node.ctl(&args).await.unwrap();
        }))
    }
}

macro_rules! claims {
    ($($claim:ident)*) => {
        mod quorum {
            $(#[tokio::test]
            async fn $claim() {
                super::contract::$claim(&super::harness(stringify!($claim), super::QueueType::Quorum).await).await;
            })*
        }
        mod classic {
            $(#[tokio::test]
            async fn $claim() {
                let vhost = concat!("classic-", stringify!($claim));
                super::contract::$claim(&super::harness(vhost, super::QueueType::Classic).await).await;
            })*
        }
    };
}

quebert_dispatcher::broker_claims!(claims);

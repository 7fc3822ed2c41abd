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

claims! {
    a_message_arrives_as_it_was_published
    the_window_is_held
    an_acked_delivery_is_gone
    a_given_back_delivery_comes_again
    closing_gives_back
    another_window_opens_again
    a_paused_source_settles_and_delivers_nothing_new
    after_a_cut_it_opens_again_with_its_window
    acks_of_a_former_opening_do_nothing
    there_is_one_consumer_after_many_cuts
    a_publish_to_a_missing_queue_comes_back
    the_dead_are_kept
    a_delay_queue_is_made_and_told_of
    depth_tells_what_waits
    stopping_sends_the_acks
    a_relocated_message_takes_the_old_ones_place
    a_relocated_delivery_fills_its_window_until_its_ack
    a_relocate_of_a_former_opening_is_a_plain_publish
    a_relocate_that_comes_back_leaves_the_old_one
}

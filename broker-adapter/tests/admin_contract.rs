//! The contract of the operators' port, on every broker.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    admin::{
        Admin,
        contract::{self, Harness},
    },
    amqp::{LaneTopology, QueueType, RabbitAdmin, RabbitConfig, Topology},
    embedded::{EmbeddedBroker, EmbeddedConfig},
    testing::PrivateRabbit,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
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

async fn on_rabbit(vhost: &str, queue_type: QueueType) -> OnRabbit {
    let node = NODE.get_or_init(|| async { PrivateRabbit::start().await.unwrap() }).await;
    node.add_vhost(vhost).await.unwrap();
    OnRabbit { node, vhost: vhost.into(), queue_type, count: AtomicU32::new(0) }
}

impl Harness for OnRabbit {
    fn fresh_name(&self) -> Arc<str> {
        format!("work-{}", self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    async fn admin(&self, queues: &[Arc<str>]) -> Arc<dyn Admin> {
        let lanes = queues.iter().map(|queue| LaneTopology::of(&**queue)).collect();
        let topology = Topology { lanes, queue_type: self.queue_type, ..Topology::default() };
        let urls = vec![self.node.url_of(&self.vhost)];
        let admin = RabbitAdmin::new(RabbitConfig { urls, topology, ..RabbitConfig::default() }).unwrap();
        let reports = admin.apply().await.unwrap();
        assert!(reports.iter().all(|report| report.state.is_usable()), "{reports:?}");
        Arc::new(admin)
    }
}

/// A store in a folder of its own, which goes with it.
struct OnDisk {
    broker: EmbeddedBroker,
    folder: PathBuf,
    count: AtomicU32,
}

fn on_disk(name: &str) -> OnDisk {
    let folder = std::env::temp_dir().join(format!("quebert-admin-{}-{name}", std::process::id()));
    let config = EmbeddedConfig { folder: folder.clone(), ..EmbeddedConfig::default() };
    OnDisk { broker: EmbeddedBroker::open(config).unwrap(), folder, count: AtomicU32::new(0) }
}

impl Harness for OnDisk {
    fn fresh_name(&self) -> Arc<str> {
        format!("work-{}", self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    async fn admin(&self, queues: &[Arc<str>]) -> Arc<dyn Admin> {
        queues.iter().for_each(|queue| self.broker.declare(queue));
        Arc::new(self.broker.another())
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // The file is still open, which matters to nobody any more.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

macro_rules! claims {
    ($($claim:ident)*) => {
        mod quorum {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::contract::$claim(&super::on_rabbit(stringify!($claim), super::QueueType::Quorum).await).await;
            })*
        }
        mod classic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                let vhost = concat!("classic-", stringify!($claim));
                super::contract::$claim(&super::on_rabbit(vhost, super::QueueType::Classic).await).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::contract::$claim(&super::on_disk(stringify!($claim))).await;
            })*
        }
    };
}

claims! {
    what_is_stored_is_there_in_order
    a_batch_is_answered_one_by_one
    a_missing_queue_is_told
    a_key_stores_one_task
    a_key_that_comes_twice_at_once_stores_one_task
    a_key_is_forgotten_after_its_time
    a_refused_task_uses_no_key
    a_look_changes_nothing
    a_sweep_does_what_was_decided
    a_sweep_keeps_to_its_limit
    what_can_not_be_moved_stays
    a_purge_removes_all_and_tells_how_many
    the_dead_have_places_of_their_own
    a_waiting_task_is_found_run_and_cancelled
    pauses_are_remembered_where_that_is_said
    ages_are_told_where_that_is_said
    a_sweep_goes_on_behind_a_position
}

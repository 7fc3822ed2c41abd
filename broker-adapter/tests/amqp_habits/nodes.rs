//! The nodes that the tests here share. Their guards end them with this process.

use quebert_broker_adapter::testing::{PrivateCluster, PrivateRabbit};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// One that nothing happens to; each test has queues of its own there.
pub(crate) async fn calm() -> &'static PrivateRabbit {
    static NODE: OnceCell<PrivateRabbit> = OnceCell::const_new();
    NODE.get_or_init(|| async { PrivateRabbit::start().await.unwrap() }).await
}

/// One that is killed, by one test at a time.
pub(crate) async fn victim() -> MutexGuard<'static, PrivateRabbit> {
    static NODE: OnceCell<Mutex<PrivateRabbit>> = OnceCell::const_new();
    let node = NODE.get_or_init(|| async { Mutex::new(PrivateRabbit::start().await.unwrap()) }).await.lock().await;
    // A test that failed may have left it dead.
    if node.pid().is_none() {
        node.restart().await.unwrap();
    }
    node
}

/// Three whose members are frozen and killed, by one test at a time.
pub(crate) async fn cluster() -> MutexGuard<'static, PrivateCluster> {
    static NODES: OnceCell<Mutex<PrivateCluster>> = OnceCell::const_new();
    let cluster = NODES.get_or_init(|| async { Mutex::new(PrivateCluster::start().await.unwrap()) }).await.lock().await;
    cluster.heal().await.unwrap();
    cluster
}

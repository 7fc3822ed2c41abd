//! A private RabbitMQ cluster: three private nodes that share an epmd. What is true of [`PrivateRabbit`] is true of each.
//!
//! It heals nothing by itself: what a test kills or freezes stays so until [`heal`](PrivateCluster::heal).

use super::{
    epmd::Epmd,
    process::blocking,
    rabbit::{PrivateRabbit, node_name, unique_name},
};
use std::{fmt::Write as _, io, sync::Arc};

/// As many as a quorum queue has members unless told otherwise.
const NODES: usize = 3;

/// Three nodes of one cluster. Dropping it kills them and removes their folders.
#[derive(Debug)]
pub struct PrivateCluster {
    nodes: [PrivateRabbit; NODES],
}

impl PrivateCluster {
    /// Starts three nodes and waits until they are one cluster.
    ///
    /// # Errors
    /// As for [`PrivateRabbit::start`].
    pub async fn start() -> io::Result<Self> {
        let epmd = Arc::new(blocking(Epmd::start).await?);
        let names: [String; NODES] = std::array::from_fn(|_| unique_name());
        let conf = joining(&names);
        let [first, second, third] = names;
        // The first one is there before the others look for somebody to join, so there is never a cluster too many.
        let first = PrivateRabbit::start_as(first, epmd.clone(), String::new()).await?;
        let second = PrivateRabbit::start_as(second, epmd.clone(), conf.clone());
        let third = PrivateRabbit::start_as(third, epmd, conf);
        let (second, third) = tokio::join!(second, third);
        let cluster = Self { nodes: [first, second?, third?] };
        cluster.nodes[0].ctl(&["await_online_nodes", &NODES.to_string()]).await?;
        Ok(cluster)
    }

    /// The nodes, always in the same order.
    pub fn nodes(&self) -> &[PrivateRabbit; NODES] {
        &self.nodes
    }

    /// Thaws what is frozen, and starts what was killed.
    ///
    /// # Errors
    /// As for [`PrivateRabbit::restart`].
    pub async fn heal(&self) -> io::Result<()> {
        self.nodes.iter().for_each(PrivateRabbit::thaw);
        for node in self.nodes.iter().filter(|node| node.pid().is_none()) {
            node.restart().await?;
        }
        Ok(())
    }

    /// The place among [`nodes`](Self::nodes) of the leader of a quorum queue of the default virtual host, in the eyes of
    /// the node that is asked. Some seconds old at worst when nothing happens.
    ///
    /// # Errors
    /// As for [`PrivateRabbit::ctl`].
    pub async fn leader(&self, queue: &str, asked: &PrivateRabbit) -> io::Result<Option<usize>> {
        let all = asked.ctl(&["list_queues", "--no-table-headers", "name", "leader"]).await?;
        let leader = all.lines().filter_map(|line| line.split_once('\t')).find(|(name, _)| *name == queue);
        Ok(leader.and_then(|(_, leader)| self.nodes.iter().position(|node| node.name() == leader.trim())))
    }
}

/// Lines of `rabbitmq.conf` with which a node joins whoever of these is there.
fn joining(names: &[String]) -> String {
    let mut conf = String::from("cluster_formation.peer_discovery_backend = classic_config\n");
    for (n, name) in names.iter().enumerate() {
        writeln!(conf, "cluster_formation.classic_config.nodes.{} = {}", n + 1, node_name(name)).expect("a string");
    }
    conf
}

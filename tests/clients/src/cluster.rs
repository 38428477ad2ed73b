//! A Redis Cluster.

use std::process::Command;

use redis::cmd;

use crate::server::{eventually, find};
use crate::servers::Redis;

/// Three nodes of a test's own.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Option<Cluster> {
        let cli = find("redis-cli")?;
        let mut said = String::new();
        for _ in 0..5 {
            let nodes = Cluster::nodes()?;
            let addresses = nodes.iter().map(|node| node.server.address());
            let mut create = Command::new(&cli);
            let made = create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes").output().unwrap();
            if made.status.success() {
                for node in &nodes {
                    eventually("a node to know its cluster", || {
                        let info: String = cmd("CLUSTER").arg("INFO").query(&mut node.admin()).unwrap();
                        info.contains("cluster_state:ok")
                    });
                }
                return Some(Cluster { nodes });
            }
            // On a busy machine the nodes may not have met in its time.
            said = String::from_utf8_lossy(&made.stdout).into_owned();
        }
        panic!("no cluster was made: {said}");
    }

    fn nodes() -> Option<Vec<Redis>> {
        let mut nodes: Vec<Redis> = Vec::new();
        while nodes.len() < 3 {
            let node = Redis::start(&["--cluster-enabled", "yes"])?;
            // The bus has the port 10,000 above, which has to be one.
            if node.server.port() < 55_000 {
                nodes.push(node);
            }
        }
        Some(nodes)
    }
}

//! A Redis Cluster, and how callers go to the right one of its nodes: a pool for each node, and the map of slots.

use std::process::Command;
use std::sync::RwLock;

use corepool::clients::{RedisConnection, RedisManager};
use corepool::{Opening, Pool, PoolMap, UseError};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, cmd};

use crate::server::{eventually, find};
use crate::servers::Redis;

/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// A request is sent on at most so often; a cluster that is being changed needs one or two.
const REDIRECTIONS: usize = 5;
/// Connections to a node.
pub const MAX_SIZE: usize = 8;

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

/// Whose slot is where, and a pool for each node. Nodes that nobody has asked for a minute are forgotten with their pools.
#[derive(Debug)]
pub struct Router {
    pools: PoolMap<String, RedisManager>,
    /// The node of each slot; empty where nobody knows.
    slots: RwLock<Vec<String>>,
}

impl Router {
    /// Asks one of the nodes, `host:port`, for the map.
    pub fn new(seed: &str) -> RedisResult<Router> {
        let pools = PoolMap::with_idle_limit(
            |node: &String| {
                let manager = RedisManager::new(format!("redis://{node}")).expect("host:port is an address");
                Pool::builder(manager).max_size(MAX_SIZE).opening(Opening::Lazy)
            },
            std::time::Duration::from_secs(60),
        );
        let router = Router { pools, slots: RwLock::new(vec![String::new(); SLOTS]) };
        type Range = (usize, usize, (String, u16));
        let ranges: Vec<Vec<redis::Value>> = router.at(seed, |redis| cmd("CLUSTER").arg("SLOTS").query(redis))?;
        let mut slots = router.slots.write().unwrap();
        for range in ranges {
            let first_three = redis::Value::Array(range.into_iter().take(3).map(only_address).collect());
            let (first, last, (host, port)) = Range::from_redis_value(first_three)?;
            slots[first..=last].fill(format!("{host}:{port}"));
        }
        drop(slots);
        Ok(router)
    }

    /// Has the node of this key answer. Follows the cluster where it has moved.
    pub fn query<T: FromRedisValue + 'static>(&self, key: &str, command: &Cmd) -> RedisResult<T> {
        let slot = slot_of(key.as_bytes());
        let (mut node, mut asking) = (self.slots.read().unwrap()[slot].clone(), false);
        for _ in 0..REDIRECTIONS {
            let answer = self.at(&node, |redis| {
                if asking {
                    let () = cmd("ASKING").query(redis)?;
                }
                command.query(redis)
            });
            let Some(error) = answer.as_ref().err() else { return answer };
            let Some((to, _)) = error.redirect_node() else { return answer };
            (node, asking) = (to.to_owned(), error.code() == Some("ASK"));
            if !asking {
                self.slots.write().unwrap()[slot].clone_from(&node);
            }
        }
        Err(RedisError::from(std::io::Error::other(format!("{key} is sent from node to node"))))
    }

    /// A pool that has no connection says so as an error of I/O.
    fn at<T>(&self, node: &str, ask: impl FnOnce(&mut RedisConnection) -> RedisResult<T>) -> RedisResult<T> {
        self.pools.with(node, ask).map_err(|error| match error {
            UseError::Get(error) => RedisError::from(std::io::Error::other(error)),
            UseError::Use(error) => error,
        })
    }

    /// How many dials there were, to all nodes.
    pub fn dials(&self, nodes: &[Redis]) -> u64 {
        nodes.iter().map(|node| self.pools.pool(&node.server.address()).unwrap().stats().dials).sum()
    }
}

/// Of a node's description, which goes on with its name and more.
fn only_address(value: redis::Value) -> redis::Value {
    match value {
        redis::Value::Array(node) => redis::Value::Array(node.into_iter().take(2).collect()),
        other => other,
    }
}

/// CRC16 (XMODEM) of what is between the first braces, if anything is, else of all.
pub fn slot_of(key: &[u8]) -> usize {
    let braced = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let length = key[open + 1..].iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &key[open + 1..open + 1 + length])
    });
    let crc = braced.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    });
    usize::from(crc) % SLOTS
}

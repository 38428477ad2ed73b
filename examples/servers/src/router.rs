//! How callers go to the right node of a Redis Cluster: a pool for each node, and the map of slots.

use std::collections::BTreeSet;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use corepool::clients::{RedisConnection, RedisManager};
use corepool::{Builder, Pool, PoolMap, UseError};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, cmd};

/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// A request is sent on at most so often; a cluster that is being changed needs one or two.
const REDIRECTIONS: usize = 5;

/// Whose slot is where, and a pool for each node. Nodes that nobody has asked for a minute are forgotten with their pools.
///
/// The pools do for each node what they do for a single server: dial, watch, back off. Where a slot is, the cluster says.
#[derive(Debug)]
pub struct Router {
    pools: PoolMap<String, RedisManager>,
    /// The node of each slot; empty where nobody knows.
    slots: RwLock<Vec<String>>,
}

impl Router {
    /// Asks one of the nodes, `host:port`, for the map. `build` has the pool of a node.
    pub fn new(
        seed: &str,
        build: impl Fn(RedisManager) -> Builder<RedisManager> + Send + Sync + 'static,
    ) -> RedisResult<Router> {
        let make =
            move |node: &String| build(RedisManager::new(format!("redis://{node}")).expect("host:port is an address"));
        let pools = PoolMap::with_idle_limit(make, Duration::from_secs(60));
        let router = Router { pools, slots: RwLock::new(vec![String::new(); SLOTS]) };
        type Range = (usize, usize, (String, u16));
        let ranges: Vec<Vec<redis::Value>> = router.at(seed, |redis| cmd("CLUSTER").arg("SLOTS").query(redis))?;
        let mut slots = write(&router.slots);
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
        let (mut node, mut asking) = (read(&self.slots)[slot].clone(), false);
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
                write(&self.slots)[slot].clone_from(&node);
            }
        }
        Err(RedisError::from(io::Error::other(format!("{key} is sent from node to node"))))
    }

    /// A pool that has no connection says so as an error of I/O.
    fn at<T>(&self, node: &str, ask: impl FnOnce(&mut RedisConnection) -> RedisResult<T>) -> RedisResult<T> {
        self.pools.with(node, ask).map_err(|error| match error {
            UseError::Get(error) => RedisError::from(io::Error::other(error)),
            UseError::Use(error) => error,
        })
    }

    /// The nodes that have slots.
    pub fn nodes(&self) -> BTreeSet<String> {
        read(&self.slots).iter().filter(|node| !node.is_empty()).cloned().collect()
    }

    /// Has this node answer, and no other.
    pub fn query_node<T: FromRedisValue + 'static>(&self, node: &str, command: &Cmd) -> RedisResult<T> {
        self.at(node, |redis| command.query(redis))
    }

    /// The pools of the nodes that have slots.
    pub fn pools(&self) -> Vec<Pool<RedisManager>> {
        self.nodes().iter().filter_map(|node| self.pools.pool(node).ok()).collect()
    }
}

fn read(slots: &RwLock<Vec<String>>) -> RwLockReadGuard<'_, Vec<String>> {
    slots.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(slots: &RwLock<Vec<String>>) -> RwLockWriteGuard<'_, Vec<String>> {
    slots.write().unwrap_or_else(PoisonError::into_inner)
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

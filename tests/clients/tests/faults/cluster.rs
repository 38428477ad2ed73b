//! A Redis Cluster of three nodes, by a `PoolMap` with a pool for each.

use client_tests::cluster::Cluster;
use client_tests::scenario::Peer;
use client_tests::server::eventually;
use corepool::{Opening, Pool};
use redis::{RedisResult, cmd};
use server_examples::router::{Router, slot_of};

use crate::alone;

/// Connections to a node.
const MAX_SIZE: usize = 8;

fn set(router: &Router, key: &str, value: u64) -> RedisResult<()> {
    router.query(key, cmd("SET").arg(key).arg(value))
}

#[test]
fn redis_cluster_by_a_pool_for_each_node() {
    let _alone = alone();
    let Some(cluster) = Cluster::start() else { return };
    let seed = cluster.nodes[1].server.address();
    let build = |manager| Pool::builder(manager).max_size(MAX_SIZE).opening(Opening::Lazy);
    let router = Router::new(&seed, build).unwrap();
    let keys: Vec<String> = (0..300).map(|number| format!("key-{number}")).collect();
    let all_are_there = || {
        for (number, key) in (0..).zip(&keys) {
            assert_eq!(router.query::<u64>(key, cmd("GET").arg(key)).unwrap(), number);
        }
    };
    (0..).zip(&keys).for_each(|(number, key)| set(&router, key, number).unwrap());
    all_are_there();

    // A slot goes to another node, key by key, as an operator does it. Where it comes from and goes to, by their names.
    let slot = slot_of(keys[0].as_bytes());
    let of_key = |node: usize| -> RedisResult<u64> {
        let mut admin = cluster.nodes[node].admin();
        cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot).query(&mut admin)
    };
    let from = (0..3).find(|node| of_key(*node).unwrap() > 0).unwrap();
    let to = (from + 1) % 3;
    let names = [from, to]
        .map(|node| -> String { cmd("CLUSTER").arg("MYID").query(&mut cluster.nodes[node].admin()).unwrap() });
    let set_slot = |node: usize, how: &str, other: &str| {
        let mut admin = cluster.nodes[node].admin();
        let () = cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).arg(other).query(&mut admin).unwrap();
    };
    set_slot(to, "IMPORTING", &names[0]);
    set_slot(from, "MIGRATING", &names[1]);
    let port = cluster.nodes[to].server.port();
    let mut admin = cluster.nodes[from].admin();
    let () = cmd("MIGRATE").arg("127.0.0.1").arg(port).arg(&keys[0]).arg(0).arg(5_000).query(&mut admin).unwrap();
    // ASK: the key is there, the slot is not yet.
    all_are_there();
    [to, from].into_iter().for_each(|node| set_slot(node, "NODE", &names[1]));
    // MOVED.
    all_are_there();

    // A node's connections end while they are idle: nobody meets one.
    let peers: Vec<Peer> = cluster.nodes.iter().map(|node| Peer::Tcp(node.server.port())).collect();
    let killed: Vec<_> = peers.iter().map(Peer::connected).collect();
    cluster.nodes.iter().for_each(|node| node.kill_all());
    eventually("the kernel to know", || {
        peers.iter().zip(&killed).all(|(peer, old)| old.is_disjoint(&peer.connected()))
    });
    all_are_there();
    // Of 1,200 requests: a node's pool grows by one for each core that had to steal, never beyond its size, and is cut once.
    let most = 3 * 2 * (MAX_SIZE as u64) + 1;
    let dials: u64 = router.pools().iter().map(|pool| pool.stats().dials).sum();
    assert!(dials <= most, "{dials} dials, and no more than {most} should be");
}

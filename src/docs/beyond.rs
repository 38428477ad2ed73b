//! Beyond one machine: what the pool does, and what the engine in front of your servers or behind them does.
//!
//! A pool keeps connections to one endpoint. It knows nothing of replicas, shards and regions, and it should not: whoever owns the data
//! knows where it is. What the two owe each other is on this page; each paragraph names the test that runs the pair
//! (`tests/clients/tests/faults`). An HTTP gateway runs in front of most of them by its `--backend` (`cargo run -p server-examples --bin
//! gateway -- --help`); `examples/servers/tests/gateway.rs` puts it there.
//!
//! # HAProxy, or another proxy for TCP
//!
//! One endpoint, many servers. The proxy chooses a server for each *connection*, so a pool that keeps its connections keeps the choice too:
//! after a server was added, [`Pool::retire`](crate::Pool::retire) spreads new dials over some minutes, or
//! [`max_lifetime`](crate::Builder::max_lifetime) does so by and by. Have the proxy close the sessions of a server that it takes for dead
//! (`on-marked-down shutdown-sessions`): the watch then hears of it at once, as of any hang-up. With no server left HAProxy still accepts,
//! and closes: a dial that speaks no login looks well for a moment, and its first user may meet the end. A login in the dial (`AUTH`,
//! `HELLO`, `SELECT`, a `PING` by [`with_login`](crate::TcpManager::with_login)) makes it a failed dial. Set the proxy's idle timeouts
//! longer than [`idle_timeout`](crate::Builder::idle_timeout). Tests: `relays::haproxy`, and the gateway's
//! `in_front_of_haproxy_in_front_of_redis`.
//!
//! # pgbouncer
//!
//! A second pool, in front of PostgreSQL: it makes few sessions of many connections, for many machines. In transaction mode each
//! transaction may meet another session, so nothing that outlasts one may be counted on: no `LISTEN`, no `SET`, no prepared statement by
//! name (pgbouncer 1.21 and later can keep those; with older ones use `query_typed`, which names none, or `simple_query`). Leave
//! [`PostgresReset`](crate::clients::PostgresReset) at its default: `DISCARD ALL` would be said to whichever session comes. It closes
//! clients that idle for `client_idle_timeout`: the watch hears of it. When PostgreSQL is away behind it, pgbouncer keeps its clients and
//! lets them wait for `query_wait_timeout`, two minutes by default: set it below your callers' patience, since no pool can tell such a wait
//! from a slow query. Tests: `relays::pgbouncer`, and the gateway's `in_front_of_pgbouncer_in_front_of_postgresql`.
//!
//! # MySQL and MariaDB
//!
//! A proxy for TCP in front of them is as above. One that speaks their protocol (ProxySQL, MaxScale) is a second pool, as pgbouncer is. A
//! replica is not told apart at login, as it is with PostgreSQL: that writes go to the primary is up to the proxy, or to the name that the
//! pool dials. In front of the server itself: the gateway's `in_front_of_mariadb`.
//!
//! # PostgreSQL with standbys
//!
//! Name all hosts and `target_session_attrs=read-write` in the configuration, and each dial finds the primary by itself. A failover that
//! ends the old primary's connections needs no more: all are dialed anew, at the promoted standby. One that leaves them open does, since a
//! session on a server that takes no writes any more looks well until it writes: ask at each checkout
//! ([`Manager::on_checkout`](crate::Manager::on_checkout), a round trip), or have whoever learns of the failover call
//! [`Pool::retire_where`](crate::Pool::retire_where). Tests: `databases::postgres_fails_over_to_a_promoted_standby`,
//! `databases::postgres_takes_no_writes_for_a_while`.
//!
//! # A server that moves, by name or by address
//!
//! Names are resolved at each dial, by the system's resolver. When a name moves and the old address goes, the next dials find the new one;
//! when the old one stays, [`Pool::retire`](crate::Pool::retire) or [`max_lifetime`](crate::Builder::max_lifetime) has connections move.
//! For another address or another password, [`Pool::replace_manager`](crate::Pool::replace_manager): it forgets the old one's backoff, and
//! nobody waits for it. Tests: `network::a_name_that_moves`, `redis_server::redis_fails_over_to_another_port_and_to_another_password`.
//!
//! # Many endpoints: shards, regions, tenants
//!
//! [`PoolMap`](crate::PoolMap) has a pool for each, made on first use; one that is away costs the others nothing but its own callers. Which
//! key a request goes to is the caller's to know. Test: `network::a_black_hole_beside_a_healthy_endpoint`.
//!
//! # Redis Cluster
//!
//! A key's slot says which node has it, so a caller needs the map of slots and a pool for each node: a [`PoolMap`](crate::PoolMap) by
//! `host:port`. Read the map by `CLUSTER SLOTS`; follow `MOVED` by changing the map, and `ASK` by asking the other node once, after
//! `ASKING` on the same connection: inside one [`with`](crate::PoolMap::with). An error that sends a caller on costs no connection: it is
//! an answer. In 125 lines: `examples/servers/src/router.rs`. The `redis` crate's own `ClusterConnection` keeps a connection to each node
//! for one caller at a time, and several of these make that many connections to each node. Tests:
//! `cluster::redis_cluster_by_a_pool_for_each_node`, and the gateway's `in_front_of_a_redis_cluster`.
#![forbid(unsafe_code)]

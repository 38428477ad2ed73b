//! What happens on the way to a server, and to many connections at once.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client_tests::matrix::census::Census;
use client_tests::matrix::outage;
use client_tests::matrix::record::Record;
use client_tests::matrix::run::{Fault, Meets};
use client_tests::matrix::subject::{Ours, SIZE, Subject};
use client_tests::proxy::{self, Proxy};
use client_tests::scenario::Peer;
use client_tests::server::{AMPLE, Scratch, find};
use client_tests::servers::Redis;
use corepool::clients::RedisManager;
use corepool::{Opening, Pool, PoolMap};
use redis::cmd;
use rustix::process::geteuid;

use crate::redis_server::{ask, manager, ours, r2d2};
use crate::{Make, alone, away, killing, matrix};

/// One that asks a connection which has rested, before it lends it.
fn asking(url: &str) -> Box<dyn Subject> {
    let rest = Some(Duration::from_millis(200));
    Box::new(Ours::built("corepool, validate_after", manager(url), ask, |builder| builder.validate_after(rest)))
}

/// The three that a peer which is silently gone tells apart.
fn half_open(server: &str, url: &str, port: u16, forget: &dyn Fn(), recall: &dyn Fn()) {
    let pools: [Make<'_>; 3] = [&|| ours(url), &|| asking(url), &|| {
        let url = url.to_owned();
        r2d2(move || url.clone(), SIZE)
    }];
    let begin = || {
        forget();
        // As long as those rest that are asked.
        thread::sleep(Duration::from_millis(1_500));
    };
    let fault = Fault {
        meets: Meets::IdleUnheard,
        dead_are_known: false,
        end: recall,
        ..killing("peers gone without a word", server, port, &begin)
    };
    for record in matrix(&pools, &[fault]) {
        let failed: u64 = record.errors.values().sum();
        assert!(record.pool != "corepool, validate_after" || failed == 0, "{record:?}");
    }
}

#[test]
fn half_open_by_the_proxy() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let url = format!("redis://{}", proxy.address());
    // What was forgotten is closed by the proxy, so that it is not counted as left over.
    half_open("Redis by a proxy", &url, proxy.port(), &|| proxy.forget(), &|| proxy.cut(proxy::Cut::Rst));
}

/// Runs a test of this file in namespaces of its own, which only root may have.
fn in_namespaces(kinds: &str, prepare: &str, test: &str) {
    if !geteuid().is_root() || find("unshare").is_none() || find("redis-server").is_none() {
        println!("skipped: needs root, unshare and redis-server");
        return;
    }
    let script = format!("{prepare} && exec \"$0\" --exact network::{test} --ignored --nocapture");
    let me = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare");
    let child = child.args([kinds, "sh", "-c", &script]).arg(me).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    print!("{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
fn half_open_by_dropped_packets() {
    let _alone = alone();
    if find("nft").is_some() && find("ip").is_some() {
        in_namespaces("-n", "ip link set lo up", "child_half_open");
    }
}

#[test]
#[ignore = "drops packets: runs in a network namespace of its own"]
fn child_half_open() {
    let server = Redis::start(&[]).unwrap();
    let port = server.server.port();
    let nft = |rule: &str| {
        let done = Command::new(find("nft").unwrap()).arg(rule).output().unwrap();
        assert!(done.status.success(), "{rule}: {}", String::from_utf8_lossy(&done.stderr));
    };
    nft("add table inet t");
    nft("add chain inet t in { type filter hook input priority 0; }");
    let drop_all = || {
        for socket in Peer::Tcp(port).ports() {
            nft(&format!("add rule inet t in tcp sport {socket} drop"));
            nft(&format!("add rule inet t in tcp dport {socket} drop"));
        }
    };
    // And those who were forgotten are gone at the server as well, which would hear of them only after hours.
    let recall = || {
        nft("flush chain inet t in");
        server.kill_all();
    };
    half_open("Redis, packets dropped", &server.url(), port, &drop_all, &recall);
}

#[test]
fn a_name_that_moves() {
    let _alone = alone();
    let scratch = Scratch::new(None);
    let hosts = scratch.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost moving.test\n").unwrap();
    in_namespaces("-m", &format!("mount --bind {hosts} /etc/hosts"), "child_name_moves");
}

#[test]
#[ignore = "changes /etc/hosts: runs in a mount namespace of its own"]
fn child_name_moves() {
    const BOTH: &str = "127.0.0.1 127.0.0.2";
    let server = Redis::start(&["--bind", "127.0.0.1", "127.0.0.2"]).unwrap();
    let port = server.server.port();
    let listen = |addresses: &str| {
        let _: () = cmd("CONFIG").arg("SET").arg("bind").arg(addresses).query(&mut server.admin()).unwrap();
    };
    let moves_to = |address: &str| {
        // Into the file that is there: another one would not be the one that was mounted.
        std::fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{address} moving.test\n")).unwrap();
    };
    let url = format!("redis://moving.test:{port}");
    let pools: [Make<'_>; 2] = [&|| ours(&url), &|| {
        let url = url.clone();
        r2d2(move || url.clone(), SIZE)
    }];
    let leaves = || {
        listen("127.0.0.2");
        server.kill_all();
    };
    for pool in pools {
        listen(BOTH);
        moves_to("127.0.0.1");
        matrix(&[pool], &[away("its name moves", "Redis", port, &leaves, &|| moves_to("127.0.0.2"))]);
    }
}

#[test]
fn a_thousand_are_cut_at_once() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let (url, port) = (server.url(), server.server.port());
    const MANY: usize = 1_000;
    let many = || -> Box<dyn Subject> {
        let built = Ours::built("corepool", manager(&url), ask, |builder| {
            builder.max_size(MANY).min_open(MANY).opening(Opening::Background)
        });
        Box::new(built)
    };
    let pools: [Make<'_>; 2] = [&many, &|| {
        let url = url.clone();
        r2d2(move || url.clone(), MANY)
    }];
    let kill = || server.kill_all();
    let cut = Fault { meets: Meets::Callers, ..killing("1,000 cut at once", "Redis", port, &kill) };
    matrix(&pools, &[cut]);
}

/// The time that 99 in 100 calls take at most, in microseconds.
fn p99(pools: &PoolMap<String, RedisManager>, key: &str, callers: usize, during: Duration) -> f64 {
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let all: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    let (ends, mut took) = (Instant::now() + during, Vec::new());
                    while Instant::now() < ends {
                        let begun = Instant::now();
                        pools.with(key, |redis| ask(redis, "a")).unwrap();
                        took.push(begun.elapsed());
                        thread::sleep(Duration::from_millis(1));
                    }
                    took
                })
            })
            .collect();
        all.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    took.sort();
    took[took.len() * 99 / 100].as_nanos() as f64 / 1e3
}

#[test]
fn a_black_hole_beside_a_healthy_endpoint() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let hole = Proxy::new(server.server.port());
    hole.set(proxy::Fault::BlackHole);
    let (healthy, holed) = (server.url(), format!("redis://{}", hole.address()));
    ours(&healthy).end();
    let before = Census::take(server.server.port());
    let pools = PoolMap::new(|url: &String| {
        Pool::builder(manager(url)).max_size(SIZE).opening(Opening::Lazy).dial_timeout(Duration::from_millis(500))
    });
    let alone = p99(&pools, &healthy, 4, outage());
    let done = AtomicBool::new(false);
    let (mut errors, mut beside) = (0, 0.0);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut errors = 0;
                    while !done.load(Ordering::SeqCst) {
                        errors += u64::from(pools.with(&holed, |redis| ask(redis, "a")).is_err());
                        thread::sleep(Duration::from_millis(1));
                    }
                    errors
                })
            })
            .collect();
        beside = p99(&pools, &healthy, 4, outage().max(Duration::from_secs(1)));
        done.store(true, Ordering::SeqCst);
        errors = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    });
    let dials = pools.pool(&holed).unwrap().stats().dials;
    hole.set(proxy::Fault::None);
    for key in [&healthy, &holed] {
        assert!(pools.pool(key).unwrap().drain(Duration::from_secs(20)).is_complete());
    }
    drop(pools);
    let after = Census::settled(server.server.port(), &before, AMPLE);
    assert!(after.is_within(&before), "{after:?}, and before {before:?}");
    let figures = [("p99 alone, us", alone), ("p99 beside it, us", beside)];
    let record = Record {
        fault: "a black hole beside it".to_owned(),
        server: "Redis".to_owned(),
        pool: "corepool".to_owned(),
        errors: [("at the black hole".to_owned(), errors)].into(),
        dials,
        figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
        ..Record::default()
    };
    record.write();
}

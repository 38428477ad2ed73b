//! Redis: by `RedisManager`, and by the `redis` crate's own connection in both pools.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client_tests::matrix::run::{Fault, Meets, run};
use client_tests::matrix::subject::{Ask, Ours, SIZE, Subject, TIMEOUT, theirs};
use client_tests::matrix::{flapping, rounds};
use client_tests::proxy::{Cut, Proxy};
use client_tests::servers::Redis;
use corepool::clients::{RedisClientManager, RedisConnection, RedisManager, Watched};
use redis::{Client, Connection, ConnectionLike, RedisError, RedisResult, cmd};
use rustix::process::Signal;

use crate::{Make, alone, away, killing, matrix};

fn echo(redis: &mut impl ConnectionLike, token: &str) -> RedisResult<String> {
    cmd("ECHO").arg(token).query(redis)
}

pub(crate) fn ask(redis: &mut RedisConnection, token: &str) -> RedisResult<String> {
    echo(redis, token)
}

fn ask_stock(redis: &mut Watched<Connection>, token: &str) -> RedisResult<String> {
    echo(&mut **redis, token)
}

pub(crate) fn manager(url: &str) -> RedisManager {
    RedisManager::new(url).unwrap().read_timeout(Some(TIMEOUT)).write_timeout(Some(TIMEOUT))
}

pub(crate) fn ours(url: &str) -> Box<dyn Subject> {
    Ours::boxed(manager(url), ask)
}

/// The same client as r2d2's.
pub(crate) fn stock(url: &str) -> Box<dyn Subject> {
    let manager = RedisClientManager::new(Client::open(url).unwrap());
    let manager = manager.read_timeout(Some(TIMEOUT)).write_timeout(Some(TIMEOUT));
    Box::new(Ours::built("corepool, stock client", manager, ask_stock, |builder| builder))
}

pub(crate) fn r2d2(url: impl Fn() -> String + Send + Sync + 'static, size: usize) -> Box<dyn Subject> {
    let connect = move || -> RedisResult<Connection> {
        let redis = Client::open(url())?.get_connection_with_timeout(Duration::from_secs(3))?;
        redis.set_read_timeout(Some(TIMEOUT))?;
        redis.set_write_timeout(Some(TIMEOUT))?;
        Ok(redis)
    };
    // As the `redis` crate's own manager asks.
    let is_valid = |redis: &mut Connection| match redis.check_connection() {
        true => Ok(()),
        false => Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe))),
    };
    let echo: Ask<Connection, RedisError> = echo;
    theirs(connect, is_valid, |redis| !redis.is_open(), echo, size)
}

#[test]
fn redis() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let (url, port) = (server.url(), server.server.port());
    let server = RefCell::new(server);
    let pools: [Make<'_>; 3] = [&|| ours(&url), &|| stock(&url), &|| {
        let url = url.clone();
        r2d2(move || url.clone(), SIZE)
    }];
    let set = |setting: &str, value: &str| {
        let _: () = cmd("CONFIG").arg("SET").arg(setting).arg(value).query(&mut server.borrow().admin()).unwrap();
    };
    let kill = || server.borrow().kill_all();
    let idle = || set("timeout", "1");
    let stop = || server.borrow_mut().server.stop(Signal::TERM);
    let start = || server.borrow_mut().server.again();
    let (freeze, thaw) = (|| server.borrow().server.freeze(true), || server.borrow().server.freeze(false));
    let admin = RefCell::new(None);
    // The admin's own connection is the one that is left.
    let crowd = || {
        let mut one = server.borrow().admin();
        let _: () = cmd("CONFIG").arg("SET").arg("maxclients").arg(1).query(&mut one).unwrap();
        let _: i64 = cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut one).unwrap();
        *admin.borrow_mut() = Some(one);
    };
    let part = || {
        let mut one = admin.borrow_mut().take().unwrap();
        let _: () = cmd("CONFIG").arg("SET").arg("maxclients").arg(10_000).query(&mut one).unwrap();
    };
    let faults = [
        killing("killed while idle", "Redis", port, &kill),
        Fault { meets: Meets::Callers, ..killing("killed in use", "Redis", port, &kill) },
        Fault { end: &|| set("timeout", "0"), ..killing("the server's idle timeout", "Redis", port, &idle) },
        away("restart", "Redis", port, &stop, &start),
        Fault {
            lasts: Some(Duration::from_secs(2)),
            dead_are_known: false,
            ..away("frozen for 2 s", "Redis", port, &freeze, &thaw)
        },
        away("too many clients", "Redis", port, &crowd, &part),
    ];
    matrix(&pools, &faults);
}

#[test]
fn redis_flaps() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let url = format!("redis://{}", proxy.address());
    let pools: [Make<'_>; 3] = [&|| ours(&url), &|| stock(&url), &|| {
        let url = url.clone();
        r2d2(move || url.clone(), SIZE)
    }];
    let flap = || {
        let ends = std::time::Instant::now() + flapping();
        while std::time::Instant::now() < ends {
            for refuse in [true, false] {
                proxy.refuse(refuse);
                proxy.cut(if refuse { Cut::Rst } else { Cut::Fin });
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    };
    let name = "cut and refused, each 50 ms";
    // It goes on while `begin` runs, so what is lent then is lent in good faith.
    let flapping = Fault { meets: Meets::Callers, ..killing(name, "Redis", proxy.port(), &flap) };
    let _ = matrix(&pools, &[flapping]);
}

#[test]
fn redis_fails_over_to_another_port_and_to_another_password() {
    let _alone = alone();
    let Some(first) = Redis::start(&[]) else { return };
    let second = Redis::start(&[]).unwrap();
    let servers = RefCell::new([first, second]);
    for _ in 0..rounds() {
        for (name, is_r2d2) in [("failover to another port", false), ("failover to another port", true)] {
            let [(port, old), (_, new)] =
                [0, 1].map(|which| (servers.borrow()[which].server.port(), servers.borrow()[which].url()));
            let stop = || servers.borrow_mut()[0].server.stop(Signal::TERM);
            moved(name, port, is_r2d2, &old, &new, &stop);
            servers.borrow_mut()[0].server.again();
        }
        for (name, is_r2d2) in [("the password is another", false), ("the password is another", true)] {
            let port = servers.borrow()[0].server.port();
            let [old, new] = ["old", "new"].map(|password| format!("redis://:{password}@127.0.0.1:{port}"));
            let require = |password: &str| {
                let mut admin = servers.borrow()[0].admin_as(password);
                move |new: &str| {
                    let _: () = cmd("CONFIG").arg("SET").arg("requirepass").arg(new).query(&mut admin).unwrap();
                    let _: i64 = cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut admin).unwrap();
                }
            };
            require("")("old");
            moved(name, port, is_r2d2, &old, &new, &|| require("old")("new"));
            require("new")("");
        }
    }
}

/// What the pool connects to is gone, and it is told of another.
fn moved(name: &str, port: u16, is_r2d2: bool, old: &str, new: &str, begin: &dyn Fn()) {
    let told: RefCell<Box<dyn Fn()>> = RefCell::new(Box::new(|| {}));
    let end = || told.borrow()();
    run(&away(name, "Redis", port, begin, &end), || {
        let new = new.to_owned();
        if is_r2d2 {
            // It cannot be told, so its manager is.
            let url = Arc::new(Mutex::new(old.to_owned()));
            let asked = Arc::clone(&url);
            *told.borrow_mut() = Box::new(move || url.lock().unwrap().clone_from(&new));
            return r2d2(move || asked.lock().unwrap().clone(), SIZE);
        }
        let ours = Ours::built("corepool", manager(old), ask, |builder| builder);
        let pool = ours.pool();
        *told.borrow_mut() = Box::new(move || pool.replace_manager(manager(&new), Duration::ZERO));
        Box::new(ours)
    });
    // The handle to the pool goes before the next census.
    *told.borrow_mut() = Box::new(|| {});
}

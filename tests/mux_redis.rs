//! A mux on a real Redis, with the commands of the `redis` crate. Needs `redis-server`; without it, says so and passes.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use corepool::mux::resp::Resp;
use corepool::mux::{Mux, MuxBuilder};
use corepool::{Conn, Pool, TcpManager};
use redis::{Commands, RedisResult, Value};
use support::{HOPELESS, eventually};

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Redis> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Command::new("redis-server");
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        match redis.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => {
                let redis = Redis { child, port };
                eventually("redis-server listens", || TcpStream::connect(redis.address()).is_ok());
                Some(redis)
            }
            Err(error) => {
                assert!(std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "redis-server: {error}");
                println!("skipped: needs redis-server");
                None
            }
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn mux(&self, resp: Resp) -> Mux<TcpManager, Resp> {
        on(TcpManager::new(self.address()), resp).build().unwrap()
    }
}

fn on(manager: TcpManager, resp: Resp) -> MuxBuilder<TcpManager, Resp> {
    Mux::builder(Pool::builder(manager).shards(1), resp).call_timeout(HOPELESS)
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn its_commands_read_as_on_a_connection_of_ones_own() {
    let Some(server) = Redis::start() else { return };
    let mux = server.mux(Resp::new());
    let mut redis = mux.clone();
    redis.set::<_, _, ()>("name", "value").unwrap();
    assert_eq!(redis.get::<_, String>("name").unwrap(), "value");
    assert_eq!((&mux).get::<_, Option<String>>("missing").unwrap(), None);
    assert_eq!((&mux).incr::<_, _, i64>("count", 2).unwrap(), 2);
    redis.rpush::<_, _, ()>("list", &["a", "b"]).unwrap();
    assert_eq!(redis.lrange::<_, Vec<String>>("list", 0, -1).unwrap(), ["a", "b"]);
    let wrong: RedisResult<i64> = redis.incr("name", 1);
    assert!(wrong.unwrap_err().to_string().contains("not an integer"));
    // One that Redis refuses costs nothing.
    assert_eq!(redis.get::<_, String>("name").unwrap(), "value");
    assert_eq!(mux.stats().total().failed, 0);
}

#[test]
fn a_pipeline_is_one_exchange() {
    let Some(server) = Redis::start() else { return };
    let mux = server.mux(Resp::new());
    let mut pipeline = redis::pipe();
    for number in 0..100 {
        pipeline.cmd("ECHO").arg(number);
    }
    let before = mux.stats().total();
    let replies: Vec<i64> = pipeline.query(&mut mux.clone()).unwrap();
    assert_eq!(replies, (0..100).collect::<Vec<_>>());
    let after = mux.stats().total();
    assert_eq!((after.calls - before.calls, after.replies - before.replies, after.sends - before.sends), (1, 100, 1));
    let (one, two): (i64, i64) = redis::pipe()
        .cmd("ECHO")
        .arg(1)
        .cmd("SET")
        .arg("k")
        .arg("v")
        .ignore()
        .cmd("ECHO")
        .arg(2)
        .query(&mut &mux)
        .unwrap();
    assert_eq!((one, two), (1, 2));
}

#[test]
fn what_belongs_to_a_pool_is_refused_and_says_so() {
    let Some(server) = Redis::start() else { return };
    let mux = server.mux(Resp::new());
    let calls = mux.stats().total().calls;
    let refusals: [RedisResult<Value>; 4] = [
        redis::cmd("SELECT").arg(1).query(&mut &mux),
        redis::cmd("blpop").arg("list").arg(0).query(&mut &mux),
        redis::cmd("SUBSCRIBE").arg("news").query(&mut &mux),
        redis::pipe().atomic().cmd("ECHO").arg(1).query(&mut &mux),
    ];
    for refusal in refusals {
        let text = refusal.unwrap_err().to_string();
        assert!(text.contains("corepool::Pool"), "{text}");
    }
    assert_eq!(mux.stats().total().calls, calls, "nothing was sent");
}

/// Logs in, as a manager does.
fn say(conn: &mut Conn, line: &str, ends: &str) -> std::io::Result<()> {
    conn.write_all(line.as_bytes())?;
    let (mut reply, mut byte) = (Vec::new(), [0]);
    while !reply.ends_with(ends.as_bytes()) {
        conn.read_exact(&mut byte)?;
        reply.push(byte[0]);
    }
    Ok(())
}

#[test]
fn pushes_go_to_who_asked_for_them_and_never_to_a_caller() {
    let Some(server) = Redis::start() else { return };
    let manager = TcpManager::new(server.address()).with_login(|conn, _| {
        // The last field of the greeting is an empty array; before it stands its name.
        say(conn, "HELLO 3\r\n", "modules\r\n*0\r\n")?;
        say(conn, "CLIENT TRACKING ON BCAST\r\n", "+OK\r\n")
    });
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let mux = on(manager, Resp::new().on_push(move |push| told.lock().unwrap().push(push))).build().unwrap();
    let other = server.mux(Resp::new());
    for turn in 0..50 {
        (&other).set::<_, _, ()>("watched", turn).unwrap();
        assert_eq!(redis::cmd("ECHO").arg(turn).query::<i64>(&mut &mux).unwrap(), turn);
    }
    eventually("the pushes are told", || {
        redis::cmd("PING").exec(&mut &mux).unwrap();
        // Redis tells of several at a time.
        !heard.lock().unwrap().is_empty()
    });
    let all_pushes = heard.lock().unwrap().iter().all(|push| matches!(push, Value::Push { .. }));
    assert!(all_pushes);
}

#[test]
fn callers_share_it_through_restarts_and_get_their_own_replies() {
    let Some(mut server) = Redis::start() else { return };
    let mux = server.mux(Resp::new());
    /// Its drop lets the callers end, also when the test fails.
    struct Over<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let (mux, over) = (&mux, &over);
                scope.spawn(move || {
                    let mut answered = 0;
                    while !over.load(std::sync::atomic::Ordering::SeqCst) {
                        let token = format!("{caller} {answered}");
                        if let Ok(reply) = redis::cmd("ECHO").arg(&token).query::<String>(&mut &*mux) {
                            assert_eq!(reply, token);
                            answered += 1;
                        }
                    }
                    answered
                })
            })
            .collect();
        let end = Over(&over);
        for _ in 0..20 {
            let before = mux.stats().total().replies;
            eventually("it works", || mux.stats().total().replies > before + 100);
            let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query::<i64>(&mut &mux);
            // Sent over the very connection that it kills.
            let _ = kill;
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        eventually("the outage is known", || mux.stats().total().failed > 0);
        let mut again = Command::new("redis-server");
        again.args(["--port", &server.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.child = again.stdout(Stdio::null()).spawn().unwrap();
        let before = mux.stats().total().replies;
        eventually("it works again", || mux.stats().total().replies > before + 100);
        drop(end);
        assert!(callers.into_iter().all(|caller| caller.join().unwrap() > 0));
    });
    mux.at_rest().unwrap();
}

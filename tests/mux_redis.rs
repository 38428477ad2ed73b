//! A mux on a real Redis, with the commands of the `redis` crate. Needs `redis-server`; without it, says so and passes.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corepool::mux::resp::Resp;
use corepool::mux::{CallErrorKind, Mux, MuxBuilder};
use corepool::{Conn, Opening, Pool, TcpManager};
use redis::{Commands, RedisResult, Value};
use rustix::process::{Pid, Signal, kill_process};
use support::{HOPELESS, chain, eventually, from_environment};

/// No answer of a server that runs takes so long, but for a machine that has much else to do.
const SHORT: Duration = Duration::from_millis(200);

struct Redis {
    child: Child,
    port: u16,
}

fn command(port: u16) -> Command {
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    redis.stdout(Stdio::null()).stderr(Stdio::null());
    redis
}

/// A server that is stopped, until its drop.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

impl Redis {
    fn start() -> Option<Redis> {
        Redis::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Option<Redis> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        match command(port).args(arguments).spawn() {
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

    /// Killed, and started again on the same port after `meanwhile`.
    fn restart(&mut self, meanwhile: impl FnOnce()) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        meanwhile();
        self.child = command(self.port).spawn().unwrap();
    }

    /// Its clients' connections stay, and nothing comes of them.
    fn stop(&self) -> Stopped {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        Stopped(pid)
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

/// What the callers of a mux have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Seen {
    /// Waits until some more calls of all callers have ended well.
    #[track_caller]
    fn works(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        eventually("it works", || self.answered.load(Ordering::SeqCst) > before + 100);
    }

    /// Waits until so many have not.
    #[track_caller]
    fn fails(&self, times: u64) {
        let before = self.failed.load(Ordering::SeqCst);
        eventually("calls fail", || self.failed.load(Ordering::SeqCst) >= before + times);
    }
}

/// Its drop lets the callers end, also when the test fails.
struct Over<'a>(&'a Seen);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// Eight callers, each of whose calls carries a word that its reply must repeat, while something happens to the server.
fn share(mux: &Mux<TcpManager, Resp>, what_happens: impl FnOnce(&Seen)) {
    let seen = Seen::default();
    thread::scope(|scope| {
        for caller in 0..8 {
            let seen = &seen;
            scope.spawn(move || {
                for turn in 0.. {
                    if seen.over.load(Ordering::SeqCst) {
                        return;
                    }
                    let token = format!("{caller} {turn}");
                    match redis::cmd("ECHO").arg(&token).query::<String>(&mut &*mux) {
                        Ok(reply) => {
                            assert_eq!(reply, token, "the reply to another call");
                            seen.answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(_) => drop(seen.failed.fetch_add(1, Ordering::SeqCst)),
                    }
                }
            });
        }
        let _over = Over(&seen);
        what_happens(&seen);
    });
    mux.at_rest().unwrap();
}

/// How often: a hundredth of `COREPOOL_MUX_KILLS`, which is 100 by default and 1,000 in `.ci/long`.
fn rounds() -> u64 {
    from_environment("COREPOOL_MUX_KILLS", 100).div_ceil(100)
}

#[test]
fn callers_share_it_through_kills_and_restarts_and_get_their_own_replies() {
    let Some(mut server) = Redis::start() else { return };
    let mux = server.mux(Resp::new());
    share(&mux, |seen| {
        for _ in 0..20 * rounds() {
            seen.works();
            // Sent over the very connection that it kills.
            let _ = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query::<i64>(&mut &mux);
        }
        for _ in 0..rounds() {
            // Under a call, or at the next dial: the last kill may not be over yet.
            server.restart(|| seen.fails(1));
            seen.works();
        }
    });
}

#[test]
fn while_the_server_is_stopped_calls_end_in_time_and_then_their_replies_go_to_nobody() {
    let Some(server) = Redis::start() else { return };
    let mux = on(TcpManager::new(server.address()), Resp::new()).call_timeout(SHORT).build().unwrap();
    share(&mux, |seen| {
        for _ in 0..2 * rounds() {
            seen.works();
            let stopped = server.stop();
            seen.fails(8);
            drop(stopped);
        }
        seen.works();
    });
    // The connection was there all the time.
    assert_eq!((mux.stats().total().failed, mux.stats().total().connections), (0, 1));
    assert!(mux.stats().total().abandoned > 0);
}

#[test]
fn a_stopped_server_is_given_up_by_the_watchdog() {
    let Some(server) = Redis::start() else { return };
    let mux = on(TcpManager::new(server.address()), Resp::new()).watchdog(Some(SHORT)).build().unwrap();
    share(&mux, |seen| {
        for _ in 0..2 * rounds() {
            seen.works();
            let stopped = server.stop();
            let failed = mux.stats().total().failed;
            eventually("it is given up", || mux.stats().total().failed > failed);
            drop(stopped);
        }
        seen.works();
    });
}

/// A script that runs for three times as long as the watchdog waits.
const SLOW_SCRIPT: &str = "local t = redis.call('TIME') local ends = t[1] * 1000000 + t[2] + 600000 \
                           repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > ends return 7";

#[test]
fn scripts_are_exempt_from_the_watchdog_in_a_command_and_in_a_pipe() {
    let Some(server) = Redis::start() else { return };
    let mux = on(TcpManager::new(server.address()), Resp::new()).watchdog(Some(SHORT)).build().unwrap();
    let script = || redis::cmd("EVAL").arg(SLOW_SCRIPT).arg(0).to_owned();
    assert_eq!(script().query::<u64>(&mut &mux).unwrap(), 7);
    let both: (u64, u64) = redis::pipe().add_command(script()).add_command(script()).query(&mut &mux).unwrap();
    assert_eq!((both, mux.stats().total().failed), ((7, 7), 0));
}

#[test]
fn a_long_line_is_a_reply_like_others() {
    let Some(server) = Redis::start() else { return };
    let mux = on(TcpManager::new(server.address()), Resp::new()).build().unwrap();
    let say = |of: &str, length: usize| {
        let script = format!("return {{{of}=string.rep('x', {length})}}");
        redis::cmd("EVAL").arg(script).arg(0).query::<String>(&mut &mux)
    };
    assert_eq!(say("ok", 70_000).unwrap().len(), 70_000);
    assert!(say("err", 70_000).unwrap_err().to_string().len() >= 70_000);
    assert_eq!((mux.stats().total().failed, mux.stats().total().connections), (0, 1));
    let mut long = redis::cmd("EVAL");
    long.arg("return {ok=string.rep('x', 2097152)}").arg(0);
    let error = mux.call(&long.get_packed_command()).unwrap_err();
    assert!(chain(&error).contains("a line of more than 1 MiB"), "{}", chain(&error));
}

/// A connection that the server has taken on: it answers.
fn welcome(conn: &mut (impl Read + Write)) -> std::io::Result<()> {
    conn.write_all(b"PING\r\n")?;
    let (mut reply, mut byte) = (String::new(), [0]);
    while !reply.ends_with('\n') {
        conn.read_exact(&mut byte)?;
        reply.push(char::from(byte[0]));
    }
    if reply == "+PONG\r\n" { Ok(()) } else { Err(std::io::Error::other(reply.trim_end().to_owned())) }
}

#[test]
fn a_server_with_too_many_clients_is_an_outage_with_its_own_words_and_ends() {
    let Some(server) = Redis::start_with(&["--maxclients", "1"]) else { return };
    let mut other = None;
    eventually("the only place is taken", || {
        other = TcpStream::connect(server.address()).ok().filter(|stream| welcome(&mut &*stream).is_ok());
        other.is_some()
    });
    let manager = TcpManager::new(server.address()).with_login(|conn, _| welcome(conn));
    let builder = Pool::builder(manager).shards(1).opening(Opening::Background).fail_fast_after(SHORT);
    let mux = Mux::builder(builder, Resp::new()).call_timeout(HOPELESS).build().unwrap();
    for _ in 0..10 {
        let error = mux.call(&redis::cmd("PING").get_packed_command()).unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Down, false));
        assert!(chain(&error).contains("max number of clients reached"), "{}", chain(&error));
    }
    drop(other);
    eventually("there is room", || redis::cmd("PING").exec(&mut &mux).is_ok());
    share(&mux, Seen::works);
}

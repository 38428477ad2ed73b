//! Parts of the examples that deserve a closer look than a run of the whole gives: children that die in odd ways, bodies that arrive in
//! pieces, peers that say more than they were asked.

mod support;

#[path = "../examples/port/child.rs"]
mod child;
#[allow(dead_code, reason = "no command line is read here")]
#[path = "../examples/support/cli.rs"]
mod cli;
#[path = "../examples/http1/client.rs"]
mod client;
#[allow(dead_code, reason = "to a server that wants no password, and asked through a pool")]
#[path = "../examples/support/resp.rs"]
mod resp;
#[path = "../examples/http1/response.rs"]
mod response;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use corepool::{BuildError, Builder, CloseReason, Manager, Opening, Pool};
use redis::{ErrorKind, RedisError, RedisResult};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use child::{Children, has_ended, kill};
use cli::Failure;
use client::{Client, Endpoint};
use resp::RespManager;
use response::{Incoming, Response};
use support::{comes_to_rest, eventually};

/// A pool of one child that runs this shell script, and answers lines.
fn single(name: &str, script: &str) -> Pool<Children> {
    // While another test forks, its child may hold the file open for writing: the dial fails, and is tried again.
    of_script(name, script).build().unwrap()
}

fn of_script(name: &str, script: &str) -> Builder<Children> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Pool::builder(Children::of(path.to_str().unwrap())).max_size(1)
}

/// Without reaping it, as `waitpid` would.
fn is_reaped(child: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(child), look).is_err_and(|error| error == Errno::CHILD)
}

/// Has the child do what `line` makes it do, and waits until the watch alone has replaced it, and it is reaped.
#[cfg(not(corepool_unwatched))]
fn ends_by(pool: &Pool<Children>, line: &str) {
    let mut worker = pool.get().unwrap();
    let pid = worker.pid();
    assert_eq!(worker.ask(line).unwrap(), line);
    drop(worker);
    eventually("the watch sees the end", || pool.stats().closed(CloseReason::PeerClosed) == 1);
    eventually("another is started", || pool.stats().opened == 2);
    eventually("it is reaped", || is_reaped(pid));
    let mut worker = pool.get().unwrap();
    assert_ne!(worker.pid(), pid);
    assert_eq!(worker.ask("hello").unwrap(), "hello");
    drop(worker);
    comes_to_rest(pool);
}

#[cfg(not(corepool_unwatched))]
#[test]
fn a_child_that_ends_while_another_holds_its_output_is_seen_by_its_pidfd() {
    let heir = "sleep 20 2>/dev/null </dev/null &";
    let pool = single("heir", &format!("{heir} while read line; do echo $line; [ $line = end ] && exit; done"));
    ends_by(&pool, "end");
}

#[cfg(not(corepool_unwatched))]
#[test]
fn a_child_that_closes_its_output_and_lives_is_seen_by_its_output() {
    let pool = single("mute", "while read line; do echo $line; [ $line = mute ] && exec sleep 20 >/dev/null; done");
    ends_by(&pool, "mute");
}

#[test]
fn a_child_that_is_killed_in_use_fails_its_user_and_nobody_else() {
    let pool = single("deaf", "while read line; do [ $line = wait ] && exec sleep 20; echo $line; done");
    let mut worker = pool.get().unwrap();
    let (pid, handle) = (worker.pid(), worker.handle().unwrap());
    let error = std::thread::scope(|scope| {
        scope.spawn(|| kill(&handle).unwrap());
        worker.ask("wait").unwrap_err()
    });
    assert!(has_ended(&error), "{error}");
    drop(worker);
    assert_eq!(pool.get().unwrap().ask("hello").unwrap(), "hello");
    eventually("it is reaped", || is_reaped(pid));
    comes_to_rest(&pool);
}

#[test]
fn a_line_that_nobody_asked_for_answers_nobody() {
    let chatty = "while read line; do echo $line; [ $line = chat ] && { sleep 0.05; echo more; }; done";
    let pool = single("chatty", chatty);
    let mut worker = pool.get().unwrap();
    let pid = worker.pid();
    assert_eq!(worker.ask("chat").unwrap(), "chat");
    drop(worker);
    // By now or at one of the next checkouts: the line has come, and the child goes.
    eventually("it is discarded", || pool.get().unwrap().pid() != pid);
    assert_eq!(pool.get().unwrap().ask("hello").unwrap(), "hello");
    assert_eq!(pool.stats().closed(CloseReason::PeerClosed), 0);
}

#[test]
fn a_child_that_answers_a_line_with_two_is_not_begun_with() {
    let double = of_script("double", "while read line; do printf '%s\\n%s\\n' $line $line; done");
    let error = double.opening(Opening::Wait(Duration::from_millis(300))).build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Opening { open: 0, .. }), "{error}");
}

#[test]
fn an_answer_without_an_end_is_cut_short() {
    let pool = single("babbler", "while read line; do [ $line = babble ] && exec cat /dev/zero; echo $line; done");
    let mut worker = pool.get().unwrap();
    let pid = worker.pid();
    assert_eq!(worker.ask("babble").unwrap_err().kind(), io::ErrorKind::InvalidData);
    drop(worker);
    let mut worker = pool.get().unwrap();
    assert_ne!(worker.pid(), pid);
    assert_eq!(worker.ask("hello").unwrap(), "hello");
}

#[test]
fn two_lines_are_not_asked_as_one() {
    let pool = single("echo", "while read line; do echo $line; done");
    let mut worker = pool.get().unwrap();
    assert_eq!(worker.ask("one\ntwo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(worker.ask("three").unwrap(), "three");
    drop(worker);
    assert_eq!((pool.get().unwrap().ask("four").unwrap(), pool.stats().opened), ("four".to_owned(), 1));
}

/// Gives what it has by so many bytes a read.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let some = self.0.len().min(self.1);
        let length = (&self.0[..some]).read(into)?;
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// Reads a response that arrives in pieces of every size; they must all agree.
#[track_caller]
fn read(method: &str, bytes: &str) -> io::Result<(u16, String, bool)> {
    let mut reads = [1, 2, 3, 7, 64, 1 << 20].map(|size| {
        let response = Incoming::new(Dribble(bytes.as_bytes(), size)).response(method);
        response.map(|Response { status, body, reusable }| (status, String::from_utf8(body).unwrap(), reusable))
    });
    for pair in reads.windows(2) {
        assert_eq!(format!("{:?}", pair[0]), format!("{:?}", pair[1]), "{bytes:?}");
    }
    std::mem::replace(&mut reads[0], Err(io::ErrorKind::Other.into()))
}

#[test]
fn a_body_ends_where_its_head_says() {
    let chunks = "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n";
    let cases = [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", (200, "abc", true)),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\nContent-Length: 3\r\n\r\nabc", (200, "abc", true)),
        ("GET", "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 3\r\n\r\nabc", (200, "abc", false)),
        ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", (200, "abc", false)),
        ("GET", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc", (200, "abc", true)),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nabc", (200, "abc", false)),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc", (200, "abc", false)),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", (200, "", true)),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", (200, "", true)),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", (204, "", true)),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", (304, "", true)),
        ("GET", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", (101, "", false)),
        ("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", (200, "a", true)),
    ];
    for (method, bytes, (status, body, reusable)) in cases {
        assert_eq!(read(method, bytes).unwrap(), (status, body.to_owned(), reusable), "{bytes:?}");
    }
    for (head, reusable) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n", false),
    ] {
        assert_eq!(read("GET", &format!("{head}{chunks}")).unwrap(), (200, "abcde".to_owned(), reusable), "{head:?}");
    }
}

#[test]
fn a_response_that_makes_no_sense_is_an_error() {
    let invalid = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        "SSH-2.0-OpenSSH\r\n",
    ];
    for bytes in invalid {
        assert_eq!(read("GET", bytes).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
    }
    let cut = [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 5\r\n",
    ];
    for bytes in cut {
        assert_eq!(read("GET", bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{bytes:?}");
    }
}

#[test]
fn a_byte_too_many_would_begin_the_next_answer() {
    for (bytes, reusable) in [("", true), ("x", false)] {
        let bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na{bytes}");
        let mut incoming = Incoming::new(Dribble(bytes.as_bytes(), 1024));
        assert_eq!(incoming.response("GET").unwrap().reusable, reusable);
        assert!(incoming.heard);
    }
}

#[test]
fn a_coding_that_is_no_text_leaves_no_length_to_trust() {
    let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: \xffchunked\r\ncontent-length: 1\r\n\r\nabc";
    let response = Incoming::new(Dribble(bytes, 1024)).response("GET").unwrap();
    assert_eq!((response.body.as_slice(), response.reusable), (&b"abc"[..], false));
}

/// Says the same for ever, after a beginning.
struct Endless<'a> {
    begin: &'a [u8],
    again: &'a [u8],
    at: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *into {
            let later = |at: usize| self.again[at % self.again.len()];
            *byte = self.begin.get(self.at).copied().unwrap_or_else(|| later(self.at - self.begin.len()));
            self.at += 1;
        }
        Ok(into.len())
    }
}

#[test]
fn an_answer_without_an_end_is_an_error() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let extended = format!("1;{}\r\na\r\n", "x".repeat(60_000));
    let endless = [
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        ("HTTP/1.1 200 OK\r\nx: ", "y"),
        ("HTTP/1.1 200 OK\r\n\r\n", "a"),
        (chunked, "1\r\na\r\n"),
        (chunked, &extended),
        (chunked, "00000000"),
        (&format!("{chunked}1;"), "x"),
        (&format!("{chunked}0\r\n"), "x: y\r\n"),
        (&format!("{chunked}0\r\nx: "), "y"),
    ];
    for (begin, again) in endless {
        let stream = Endless { begin: begin.as_bytes(), again: again.as_bytes(), at: 0 };
        let error = Incoming::new(stream).response("GET").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{begin:?}, then {again:.20?}");
    }
}

/// A peer that does with each connection, the first being number 0, what `serve` says. It lives as long as the process.
fn peer(serve: impl Fn(usize, BufReader<TcpStream>) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = Arc::clone(&serve);
            // One that ends in an error ends like any other.
            thread::spawn(move || stream.and_then(|stream| serve(number, BufReader::new(stream))));
        }
    });
    address
}

/// Answers each request of one connection by what `answer` makes of its key word, in one piece.
fn answer_each(
    mut stream: BufReader<TcpStream>,
    hear: fn(&mut BufReader<TcpStream>) -> io::Result<String>,
    answer: impl Fn(&str) -> String,
) -> io::Result<()> {
    loop {
        let word = hear(&mut stream)?;
        stream.get_mut().write_all(answer(&word).as_bytes())?;
    }
}

/// The next line, without its end.
fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// The path of the next request.
fn hear_http(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let first = line(stream)?;
    while !line(stream)?.is_empty() {}
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { host: address.ip().to_string(), port: address.port() }
}

/// Asks for a path that nobody else asks for; the answer must be that path.
#[track_caller]
fn ask_http(client: &Client, endpoint: &Endpoint, path: &str) {
    let response = client.request("GET", endpoint, path).unwrap();
    assert_eq!(String::from_utf8(response.body).unwrap(), path);
}

/// The word of the next ECHO.
fn hear_echo(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let lines: Vec<_> = (0..5).map(|_| line(stream)).collect::<io::Result<_>>()?;
    match &*lines {
        [count, _, echo, _, word] if count == "*2" && echo == "ECHO" => Ok(word.clone()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn echo(pool: &Pool<RespManager>, word: &str) -> RedisResult<String> {
    redis::cmd("ECHO").arg(word).query(&mut *pool.get().unwrap())
}

fn resp(address: SocketAddr) -> Pool<RespManager> {
    Pool::builder(RespManager::new(address)).max_size(1).opening(Opening::Lazy).build().unwrap()
}

#[track_caller]
fn is_broken(error: RedisError) {
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse), "{error}");
}

/// Has the peer say what nobody asked for, and waits until a checkout has found it.
#[track_caller]
fn says_more<M: Manager>(pool: &Pool<M>, say: &mpsc::Sender<()>) {
    say.send(()).unwrap();
    eventually("a checkout finds it", || {
        drop(pool.get().unwrap());
        pool.stats().closed(CloseReason::IdleData) == 1
    });
}

/// A peer whose first connection says something once more, when it is told to: the answer to one request, a while after it.
fn twice(
    hear: fn(&mut BufReader<TcpStream>) -> io::Result<String>,
    answer: fn(&str) -> String,
) -> (SocketAddr, mpsc::Sender<()>) {
    let (say, told) = mpsc::channel();
    let told = Mutex::new(told);
    let address = peer(move |number, mut stream| {
        if number == 0 {
            let word = hear(&mut stream)?;
            stream.get_mut().write_all(answer(&word).as_bytes())?;
            told.lock().unwrap().recv().unwrap();
            stream.get_mut().write_all(answer(&word).as_bytes())?;
        }
        answer_each(stream, hear, answer)
    });
    (address, say)
}

#[test]
fn http1_lends_no_connection_with_another_answer_behind_the_first() {
    let address = peer(|_, stream| answer_each(stream, hear_http, |path| http(path) + &http("/another")));
    let (client, endpoint) = (Client::new(4), endpoint(address));
    (0..20).for_each(|turn| ask_http(&client, &endpoint, &format!("/{turn}")));
    assert_eq!(client.counts.reused.load(Ordering::SeqCst), 0);
    assert_eq!(client.pool(&endpoint).unwrap().stats().opened, 20);
}

#[test]
fn http1_lends_no_connection_on_which_another_answer_has_come_since() {
    let (address, say) = twice(hear_http, http);
    let (client, endpoint) = (Client::new(4), endpoint(address));
    ask_http(&client, &endpoint, "/one");
    says_more(&client.pool(&endpoint).unwrap(), &say);
    ask_http(&client, &endpoint, "/two");
    ask_http(&client, &endpoint, "/three");
    assert_eq!(client.pool(&endpoint).unwrap().stats().opened, 2);
}

#[test]
fn http1_reads_interim_answers_for_as_long_as_is_decent() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&requests);
    let address = peer(move |_, mut stream| {
        loop {
            let path = hear_http(&mut stream)?;
            counts.fetch_add(1, Ordering::SeqCst);
            for turn in 0.. {
                stream.get_mut().write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
                if path == "/soon" && turn == 2 {
                    break;
                }
            }
            stream.get_mut().write_all(http(&path).as_bytes())?;
        }
    });
    let (client, endpoint) = (Client::new(1), endpoint(address));
    ask_http(&client, &endpoint, "/soon");
    let error: Failure = client.request("GET", &endpoint, "/never").unwrap_err();
    assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::InvalidData), "{error}");
    assert_eq!(client.counts.again.load(Ordering::SeqCst), 0);
    eventually("the connection goes", || client.pool(&endpoint).unwrap().stats().closed(CloseReason::Discarded) == 1);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn resp_lends_no_connection_with_another_reply_behind_the_first() {
    // Whole, in part, and not even a reply.
    for more in ["$7\r\nanother\r\n", "$7\r\nano", "+", "\r\n"] {
        let address = peer(move |_, stream| answer_each(stream, hear_echo, |word| format!("+{word}\r\n{more}")));
        let pool = resp(address);
        for turn in 0..10 {
            assert_eq!(echo(&pool, &format!("word {turn}")).unwrap(), format!("word {turn}"));
        }
        assert_eq!(pool.stats().opened, 10, "{more:?}");
    }
}

#[test]
fn resp_asks_no_more_on_a_connection_that_has_said_too_much() {
    let pool = resp(peer(|_, stream| answer_each(stream, hear_echo, |word| format!("+{word}\r\n+another\r\n"))));
    let mut connection = pool.get().unwrap();
    assert_eq!(redis::cmd("ECHO").arg("one").query::<String>(&mut *connection).unwrap(), "one");
    let error = redis::cmd("ECHO").arg("two").query::<String>(&mut *connection).unwrap_err();
    assert!(error.to_string().contains("more than it was asked"), "{error}");
}

#[test]
fn resp_lends_no_connection_on_which_another_reply_has_come_since() {
    let (address, say) = twice(hear_echo, |word| format!("+{word}\r\n"));
    let pool = resp(address);
    assert_eq!(echo(&pool, "one").unwrap(), "one");
    says_more(&pool, &say);
    assert_eq!(echo(&pool, "two").unwrap(), "two");
    assert_eq!(echo(&pool, "three").unwrap(), "three");
    assert_eq!(pool.stats().opened, 2);
}

#[test]
fn resp_lends_no_connection_whose_reply_was_no_good() {
    let long = format!("+{}\r\n", "x".repeat(5 << 20));
    let lines = format!("${}\r\n{}\r\n", 5 << 20, "x\n".repeat(5 << 19));
    let many = format!("*{}\r\n{}", u32::MAX, ":1\r\n".repeat(5 << 18));
    let message = ">2\r\n+message\r\n+another\r\n".to_owned();
    for reply in [long, lines, many, message, "?\r\n".to_owned()] {
        let begin: String = reply.chars().take(20).collect();
        let address = peer(move |number, stream| {
            answer_each(stream, hear_echo, |word| if number == 0 { reply.clone() } else { format!("+{word}\r\n") })
        });
        let pool = resp(address);
        is_broken(echo(&pool, "one").map(drop).expect_err(&begin));
        assert_eq!(echo(&pool, "two").unwrap(), "two", "{begin:?}");
        assert_eq!(pool.stats().opened, 2, "{begin:?}");
    }
}

#[test]
fn resp_lends_no_connection_that_its_user_distrusts() {
    let pool = resp(peer(|_, stream| answer_each(stream, hear_echo, |word| format!("+{word}\r\n"))));
    pool.get().unwrap().distrust();
    assert_eq!(echo(&pool, "one").unwrap(), "one");
    assert_eq!(pool.stats().opened, 2);
}

#[test]
fn resp_reads_replies_of_every_kind_and_size() {
    let texts = ["", "a", "\n", "\r\n", "a\r\n\nb\r", &"x".repeat(100_000), &"\r\n".repeat(10_000)].map(str::to_owned);
    let array = texts
        .iter()
        .fold(format!("*{}\r\n", texts.len() + 2), |array, text| array + &format!("${}\r\n{text}\r\n", text.len()));
    let reply = array + "$-1\r\n*2\r\n:-7\r\n*0\r\n";
    let pool = resp(peer(move |_, stream| answer_each(stream, hear_echo, |_| reply.clone())));
    for _ in 0..3 {
        let got: Vec<redis::Value> = redis::cmd("ECHO").arg("all").query(&mut *pool.get().unwrap()).unwrap();
        let bulks = texts.iter().map(|text| redis::Value::BulkString(text.clone().into_bytes()));
        let last = redis::Value::Array(vec![redis::Value::Int(-7), redis::Value::Array(Vec::new())]);
        assert!(got == bulks.chain([redis::Value::Nil, last]).collect::<Vec<_>>());
    }
    assert_eq!(pool.stats().opened, 1);
}

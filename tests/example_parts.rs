//! Parts of the examples that deserve a closer look than a run of the whole gives: children that die in odd ways, bodies that arrive in pieces.

mod support;

#[path = "../examples/port/child.rs"]
mod child;
#[path = "../examples/http1/response.rs"]
mod response;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use corepool::{CloseReason, Pool};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use child::{Children, has_ended, kill};
use response::{Incoming, Response};
use support::{comes_to_rest, eventually};

/// A pool of one child that runs this shell script, and answers lines.
fn single(name: &str, script: &str) -> Pool<Children> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // While another test forks, its child may hold the file open for writing: the dial fails, and is tried again.
    Pool::builder(Children::of(path.to_str().unwrap())).max_size(1).build().unwrap()
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

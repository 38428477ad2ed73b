//! One connection for many callers: every reply reaches its caller, in whatever company.

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use corepool::mux::{CallErrorKind, Mux};
use corepool::{Opening, Pool, TcpManager, UnixManager};
use support::{HOPELESS, Lines, Server, Stage, each_gets_its_own, eventually};

/// One line, of the address's connections.
fn one_line(address: String) -> corepool::mux::MuxBuilder<TcpManager, Lines> {
    Mux::builder(Pool::builder(TcpManager::new(address)).shards(1), Lines::default()).call_timeout(HOPELESS)
}

fn in_flight(mux: &Mux<TcpManager, Lines>) -> usize {
    mux.stats().total().in_flight
}

#[test]
fn each_of_many_callers_gets_its_own_replies() {
    let server = Server::echo();
    for lines in [1, 3] {
        let mux = one_line(server.address()).lines_per_shard(lines).build().unwrap();
        let start = Barrier::new(16);
        thread::scope(|scope| {
            for caller in 0..16 {
                let (mux, start) = (&mux, &start);
                scope.spawn(move || {
                    start.wait();
                    for turn in 0..500 {
                        let token = format!("{caller} asks {turn}{}", "x".repeat(fastrand::usize(0..50)));
                        assert_eq!(mux.call(&token).unwrap(), token);
                    }
                });
            }
        });
        let stats = mux.stats();
        assert_eq!(stats.lines.len(), lines);
        assert_eq!((stats.total().calls, stats.total().replies, stats.total().failed), (8_000, 8_000, 0));
        assert_eq!(stats.pool.open, lines, "{}", stats.pool);
        mux.at_rest().unwrap();
    }
}

#[test]
fn over_a_unix_socket_too() {
    let path = std::env::temp_dir().join(format!("corepool-mux-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let mux =
        Mux::builder(Pool::builder(UnixManager::new(&path)), Lines::default()).call_timeout(HOPELESS).build().unwrap();
    each_gets_its_own(&mux);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_lone_caller_sends_once_and_receives_once() {
    let server = Server::echo();
    let mux = one_line(server.address()).build().unwrap();
    mux.call("first").unwrap();
    let before = mux.stats().total();
    for turn in 0..100 {
        mux.call(&format!("turn {turn}")).unwrap();
    }
    let after = mux.stats().total();
    // A busy machine may keep the reply for longer than a receive waits.
    assert_eq!(after.sends - before.sends, 100);
    assert!((100..110).contains(&(after.receives - before.receives)), "{after:?}");
}

#[test]
fn what_is_asked_while_connecting_leaves_in_one_piece() {
    let server = Server::echo();
    server.refuse();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(1).opening(Opening::Background);
    let mux =
        Mux::builder(builder.fail_fast_after(10 * HOPELESS), Lines::default()).call_timeout(HOPELESS).build().unwrap();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|caller| {
                (
                    caller,
                    scope.spawn({
                        let mux = &mux;
                        move || mux.call(&format!("caller {caller}"))
                    }),
                )
            })
            .collect();
        eventually("all wait", || in_flight(&mux) == 16);
        server.start();
        for (caller, thread) in callers {
            assert_eq!(thread.join().unwrap().unwrap(), format!("caller {caller}"));
        }
    });
    assert_eq!(mux.stats().total().sends, 1);
}

#[test]
fn the_requests_of_a_pipeline_are_neighbours_with_a_result_for_each() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let pipeline = scope.spawn(|| mux.pipeline(["a", "refused", "b", "c"]));
        eventually("it is in flight", || in_flight(&mux) == 1);
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| mux.call("other"))).collect();
        assert_eq!(peer.hear_all(7), ["a", "b", "c", "other", "other", "other", "other"]);
        peer.say("A\nB\n");
        peer.say("C\n1\n2\n3\n4\n");
        let results = pipeline.join().unwrap();
        let replies: Vec<_> = results.iter().map(|result| result.as_deref().map_err(|error| error.kind())).collect();
        assert_eq!(replies, [Ok("A"), Err(CallErrorKind::Refused), Ok("B"), Ok("C")]);
        let mut numbers: Vec<_> = others.into_iter().map(|other| other.join().unwrap().unwrap()).collect();
        numbers.sort();
        assert_eq!(numbers, ["1", "2", "3", "4"]);
    });
    assert!(mux.pipeline([]).is_empty());
    assert_eq!(mux.pipeline(["refused"]).len(), 1);
}

#[test]
fn the_replies_of_a_pipeline_stay_in_order_however_they_are_cut() {
    // An echo of a kilobyte at a time cuts them anywhere, and several callers take turns at reading.
    let server = Server::echo();
    let mux = one_line(server.address()).build().unwrap();
    thread::scope(|scope| {
        for caller in 0..6 {
            let mux = &mux;
            scope.spawn(move || {
                for turn in 0..100 {
                    let requests: Vec<String> =
                        (0..40).map(|place| format!("{caller} {turn} {place} {}", "z".repeat(place))).collect();
                    let results = mux.pipeline(requests.iter().map(String::as_str));
                    let replies: Vec<String> = results.into_iter().map(Result::unwrap).collect();
                    assert_eq!(replies, requests);
                }
            });
        }
    });
    mux.at_rest().unwrap();
}

#[test]
fn a_peer_that_writes_before_it_reads_on_is_read_meanwhile() {
    // More than all buffers between the two hold: an echo that is not read stops reading.
    let server = Server::echo();
    let mux = one_line(server.address()).build().unwrap();
    let long = "x".repeat(100_000);
    let requests: Vec<String> = (0..300).map(|turn| format!("{turn} {long}")).collect();
    let results = mux.pipeline(requests.iter().map(String::as_str));
    assert!(results.iter().zip(&requests).all(|(result, request)| result.as_ref().unwrap() == request));
    mux.at_rest().unwrap();
}

#[test]
fn long_replies_and_short_ones_keep_their_order() {
    let server = Server::echo();
    let mux = one_line(server.address()).build().unwrap();
    let long = "y".repeat(1 << 20);
    thread::scope(|scope| {
        for caller in 0..6 {
            let (mux, long) = (&mux, &long);
            scope.spawn(move || {
                for turn in 0..20 {
                    let token = if caller == 0 { format!("{turn}{long}") } else { format!("{caller} {turn}") };
                    assert_eq!(mux.call(&token).unwrap(), token);
                }
            });
        }
    });
}

#[test]
fn what_a_peer_says_by_itself_answers_nobody() {
    let stage = Stage::open();
    let lines = Lines::default();
    let builder = Pool::builder(TcpManager::new(stage.address())).shards(1);
    let mux = Mux::builder(builder, lines.clone()).call_timeout(HOPELESS).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("question"));
        peer.hear();
        peer.say(">one\n>two\nan");
        peer.say("swer\n>three\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
    });
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("question"));
        peer.hear();
        peer.say("answer\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
    });
    assert_eq!(*lines.pushes.lock().unwrap(), [">one", ">two", ">three"]);
}

#[test]
fn calls_in_flight_are_limited() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).max_in_flight(2).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let [one, two] = ["one", "two"].map(|text| scope.spawn(|| mux.call(text)));
        peer.hear_all(2);
        let error = mux.call_timeout(Duration::from_millis(20), "three").unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Overloaded, false));
        let three = scope.spawn(|| mux.call("three"));
        peer.say("1\n");
        assert_eq!(peer.hear().unwrap(), "three");
        peer.say("2\n3\n");
        assert_eq!(three.join().unwrap().unwrap(), "3");
        let mut replies = [one, two].map(|call| call.join().unwrap().unwrap());
        replies.sort();
        assert_eq!(replies, ["1", "2"]);
    });
}

#[test]
fn those_who_have_gone_make_room_when_their_replies_come() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).max_in_flight(2).build().unwrap();
    let mut peer = stage.accept();
    for text in ["one", "two"] {
        let error = mux.call_timeout(Duration::from_millis(10), text).unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::TimedOut, true));
    }
    peer.hear_all(2);
    // Nobody is left to read but who waits for room.
    thread::scope(|scope| {
        let three = scope.spawn(|| mux.call("three"));
        peer.say("1\n2\n");
        assert_eq!(peer.hear().unwrap(), "three");
        peer.say("3\n");
        assert_eq!(three.join().unwrap().unwrap(), "3");
    });
    mux.at_rest().unwrap();
}

#[test]
fn queued_bytes_are_limited_but_for_one_call() {
    let server = Server::echo();
    server.refuse();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(1).opening(Opening::Background);
    let mux = Mux::builder(builder.fail_fast_after(10 * HOPELESS), Lines::default()).max_queued(10);
    let mux = mux.call_timeout(HOPELESS).build().unwrap();
    thread::scope(|scope| {
        let long = scope.spawn(|| mux.call("longer than all that may wait"));
        eventually("it waits", || in_flight(&mux) == 1);
        let error = mux.call_timeout(Duration::from_millis(20), "x").unwrap_err();
        assert_eq!(error.kind(), CallErrorKind::Overloaded);
        let next = scope.spawn(|| mux.call("y"));
        server.start();
        assert_eq!(long.join().unwrap().unwrap(), "longer than all that may wait");
        assert_eq!(next.join().unwrap().unwrap(), "y");
    });
}

#[test]
fn a_panic_in_a_request_costs_its_caller_alone() {
    struct Bad;
    impl corepool::mux::Protocol for Bad {
        type Request = u8;
        type Reply = u8;
        fn encode(&self, request: &u8, into: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            into.push(*request);
            assert!(*request > 0, "{}", support::ON_PURPOSE);
            Ok(())
        }
        fn decode(&self, bytes: &[u8]) -> corepool::mux::Decoded<u8> {
            corepool::mux::Decoded::Reply(bytes[0], 1)
        }
    }
    let server = Server::echo();
    let mux = Mux::builder(Pool::builder(TcpManager::new(server.address())), Bad).build().unwrap();
    support::panics(|| mux.call(&0));
    assert_eq!(mux.call(&7).unwrap(), 7);
    mux.at_rest().unwrap();
}

#[test]
fn close_turns_away_what_is_not_written_and_answers_what_is() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            let reply = mux.call("question");
            answered.fetch_add(1, Ordering::SeqCst);
            reply
        });
        peer.hear();
        mux.close();
        assert_eq!(mux.call("too late").unwrap_err().kind(), CallErrorKind::Closed);
        assert_eq!(answered.load(Ordering::SeqCst), 0);
        let drain = scope.spawn(|| mux.drain(HOPELESS));
        peer.say("answer\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
        let report = drain.join().unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(peer.hear(), None, "the connection is closed");
    });
}

#[test]
fn the_last_handle_closes_all() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    let other = mux.clone();
    drop(mux);
    assert!(!stage.is_wanted());
    drop(other);
    assert_eq!(peer.hear(), None);
}

#[test]
fn a_setting_outside_its_limits_is_named() {
    let named = |built: Result<Mux<TcpManager, Lines>, corepool::BuildError>| match built {
        Err(corepool::BuildError::Setting { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let builder = || one_line("127.0.0.1:1".into());
    assert_eq!(named(builder().lines_per_shard(0).build()), "lines_per_shard");
    assert_eq!(named(builder().call_timeout(Duration::ZERO).build()), "call_timeout");
    assert_eq!(named(builder().max_in_flight(0).build()), "max_in_flight");
    assert_eq!(named(builder().max_reply(1).build()), "max_reply");
    assert_eq!(named(builder().watchdog(Some(Duration::ZERO)).build()), "watchdog");
}

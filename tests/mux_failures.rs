//! What becomes of calls when callers go, connections end and peers talk nonsense.

mod support;

use std::thread;
use std::time::Duration;

use corepool::mux::{CallError, CallErrorKind, Mux, MuxBuilder};
use corepool::{CloseReason, Event, Opening, Pool, TcpManager};
use support::{HOPELESS, Heard, Lines, Server, Stage, chain, eventually, hush};

type Lined = Mux<TcpManager, Lines>;

const SHORT: Duration = Duration::from_millis(20);

/// One line, of the address's connections.
fn one_line(address: String) -> MuxBuilder<TcpManager, Lines> {
    Mux::builder(Pool::builder(TcpManager::new(address)).shards(1), Lines::default()).call_timeout(HOPELESS)
}

fn in_flight(mux: &Lined) -> usize {
    mux.stats().total().in_flight
}

/// The kind, and whether it was sent.
#[track_caller]
fn lost(reply: Result<String, CallError>) -> (CallErrorKind, bool) {
    let error = reply.unwrap_err();
    (error.kind(), error.was_sent())
}

#[test]
fn the_reply_to_one_who_has_gone_reaches_nobody() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    for turn in 0..3 {
        assert_eq!(lost(mux.call_timeout(SHORT, "slow")), (CallErrorKind::TimedOut, true));
        assert_eq!(in_flight(&mux), turn + 1);
    }
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("next"));
        assert_eq!(peer.hear_all(4), ["slow", "slow", "slow", "next"]);
        peer.say("late 1\nlate 2\n");
        peer.say("late 3\nits own\n");
        assert_eq!(call.join().unwrap().unwrap(), "its own");
    });
    assert_eq!(mux.stats().total().abandoned, 3);
    mux.at_rest().unwrap();
}

#[test]
fn one_who_goes_while_reading_for_all_is_succeeded() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let leader = scope.spawn(|| mux.call_timeout(10 * SHORT, "leads"));
        peer.hear();
        let follower = scope.spawn(|| mux.call("follows"));
        peer.hear();
        assert_eq!(lost(leader.join().unwrap()), (CallErrorKind::TimedOut, true));
        peer.say("too late\nin time\n");
        assert_eq!(follower.join().unwrap().unwrap(), "in time");
    });
}

#[test]
fn a_pipeline_keeps_what_has_come_in_time() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let pipeline = scope.spawn(|| mux.pipeline_timeout(10 * SHORT, ["a", "b", "c"]));
        peer.hear_all(3);
        peer.say("A\n");
        let results = pipeline.join().unwrap();
        assert_eq!(results[0].as_deref().unwrap(), "A");
        assert!(results[1..].iter().all(|result| result.as_ref().unwrap_err().kind() == CallErrorKind::TimedOut));
        let next = scope.spawn(|| mux.call("next"));
        peer.hear();
        peer.say("B\nC\nD\n");
        assert_eq!(next.join().unwrap().unwrap(), "D");
    });
    mux.at_rest().unwrap();
}

#[test]
fn what_was_written_when_the_connection_ends_is_told_why_and_not_repeated() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..5).map(|_| scope.spawn(|| mux.call("question"))).collect();
        peer.hear_all(5);
        peer.say("answer\n");
        peer.hang_up();
        let results: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let (answered, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((answered.len(), failed.len()), (1, 4));
        for error in failed.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Disconnected, true));
            assert!(chain(&error).contains("the connection ended before the reply: "), "{}", chain(&error));
            assert!(error.cause().is_some());
        }
    });
    let mut next = stage.accept();
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("another"));
        assert_eq!(next.hear().unwrap(), "another", "nothing is said again");
        next.say("answer\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
    });
    assert_eq!((mux.stats().total().failed, mux.stats().total().connections), (1, 2));
}

#[test]
fn what_nobody_has_written_goes_out_on_the_next_connection() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut peer = stage.accept();
    // More than the buffers hold: it is being written when the others come.
    let long = "x".repeat(64 << 20);
    thread::scope(|scope| {
        let writer = scope.spawn(|| mux.call(&long));
        peer.hear_some();
        let others: Vec<_> = (0..4)
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
        eventually("all are there", || in_flight(&mux) == 5);
        peer.hang_up();
        assert_eq!(lost(writer.join().unwrap()), (CallErrorKind::Disconnected, true));
        scope.spawn(|| stage.accept().echo());
        for (caller, thread) in others {
            assert_eq!(thread.join().unwrap().unwrap(), format!("caller {caller}"));
        }
        drop(mux.drain(HOPELESS));
    });
}

#[test]
fn what_was_given_up_before_it_was_written_never_is() {
    let server = Stage::open();
    let address = server.address();
    let reserved = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    drop(server);
    reserved.set_reuse_address(true).unwrap();
    let builder = Pool::builder(TcpManager::new(address.clone())).shards(1).opening(Opening::Background);
    let builder = Mux::builder(builder.fail_fast_after(10 * HOPELESS), Lines::default());
    let mux = builder.call_timeout(HOPELESS).build().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| mux.call("first"));
        eventually("it waits", || in_flight(&mux) == 1);
        assert_eq!(lost(mux.call_timeout(SHORT, "given up")), (CallErrorKind::TimedOut, false));
        let last = scope.spawn(|| mux.call("last"));
        eventually("both wait", || in_flight(&mux) >= 2);
        reserved.bind(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        reserved.listen(8).unwrap();
        let mut peer = Stage::of(reserved.into()).accept();
        assert_eq!(peer.hear_all(2), ["first", "last"]);
        peer.say("1\n2\n");
        assert_eq!([first, last].map(|call| call.join().unwrap().unwrap()), ["1", "2"]);
    });
    mux.at_rest().unwrap();
}

#[test]
fn in_an_outage_calls_fail_at_once_with_the_cause() {
    let server = Server::echo();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(1).fail_fast_after(SHORT);
    let mux = Mux::builder(builder, Lines::default()).call_timeout(HOPELESS).build().unwrap();
    mux.call("hello").unwrap();
    server.stop();
    let mut last = None;
    eventually("an outage is noticed", || {
        let error = mux.call("is there anybody").unwrap_err();
        let down = error.kind() == CallErrorKind::Down;
        last = Some(error);
        down
    });
    let error = last.unwrap();
    assert!(!error.was_sent());
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
    // Not one after another, each for its own time: they are told what the pool knows.
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(lost(mux.call("anybody")), (CallErrorKind::Down, false)));
        }
    });
    server.start();
    eventually("it is back", || mux.call("hello").is_ok());
    mux.at_rest().unwrap();
}

#[cfg(not(corepool_unwatched))]
#[test]
fn a_hang_up_between_two_calls_is_known_before_the_second_is_written() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    for _ in 0..20 {
        thread::scope(|scope| {
            // On a connection that is open, or on one that this call has the pool open.
            let call = scope.spawn(|| mux.call("question"));
            let mut peer = stage.accept();
            peer.hear();
            peer.say("answer\n");
            assert_eq!(call.join().unwrap().unwrap(), "answer");
            peer.hang_up();
        });
        eventually("the watch has seen it", || mux.stats().total().is_leaving);
    }
    let total = mux.stats().total();
    assert_eq!((total.replies, total.connections, total.failed), (20, 20, 0));
}

#[test]
fn what_is_in_flight_is_answered_before_a_connection_is_retired() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut old = stage.accept();
    thread::scope(|scope| {
        let before = scope.spawn(|| mux.call("before"));
        old.hear();
        mux.retire();
        let after = scope.spawn(|| mux.call("after"));
        eventually("both are there", || in_flight(&mux) == 2);
        old.say("from the old one\n");
        assert_eq!(before.join().unwrap().unwrap(), "from the old one");
        assert_eq!(old.hear(), None, "nothing new is written on it");
        let mut new = stage.accept();
        assert_eq!(new.hear().unwrap(), "after");
        new.say("from the new one\n");
        assert_eq!(after.join().unwrap().unwrap(), "from the new one");
    });
    assert_eq!(mux.stats().pool.closed(CloseReason::Retired), 1);
    assert_eq!(mux.stats().total().failed, 0);
}

#[test]
fn a_retired_connection_that_owes_only_those_who_have_gone_is_given_up() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).build().unwrap();
    let mut old = stage.accept();
    assert_eq!(lost(mux.call_timeout(SHORT, "never answered")), (CallErrorKind::TimedOut, true));
    old.hear();
    mux.retire();
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("next"));
        let mut new = stage.accept();
        assert_eq!(new.hear().unwrap(), "next");
        new.say("answer\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
    });
    assert_eq!(old.hear(), None);
}

#[test]
fn connections_expire_under_load_and_no_call_fails() {
    let server = Server::echo();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(2).max_lifetime(Some(SHORT));
    let mux = Mux::builder(builder, Lines::default()).call_timeout(HOPELESS).build().unwrap();
    thread::scope(|scope| {
        for caller in 0..4 {
            let mux = &mux;
            scope.spawn(move || {
                let mut turn = 0;
                while mux.stats().pool.closed(CloseReason::Expired) < 10 {
                    let token = format!("{caller} {turn}");
                    assert_eq!(mux.call(&token).unwrap(), token);
                    turn += 1;
                }
            });
        }
    });
    assert_eq!(mux.stats().total().failed, 0);
}

#[test]
fn no_hold_is_too_long() {
    let server = Server::echo();
    let heard = Heard::default();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(1).observer(heard.clone());
    let builder = builder.hold_limit(Some(Duration::from_millis(10))).cut_held(true);
    let mux = Mux::builder(builder, Lines::default()).build().unwrap();
    mux.call("hello").unwrap();
    // A pool whose hold limit holds, as a clock.
    let clock = Heard::default();
    let other = Pool::builder(TcpManager::new(server.address())).observer(clock.clone());
    let other = other.hold_limit(Some(Duration::from_millis(10))).build().unwrap();
    let held = other.get().unwrap();
    eventually("a hold is too long", || clock.count(|event| matches!(event, Event::HoldExceeded { .. })) > 0);
    drop(held);
    mux.call("hello").unwrap();
    assert_eq!(heard.count(|event| matches!(event, Event::HoldExceeded { .. })), 0);
    assert_eq!(mux.stats().total().connections, 1);
}

#[test]
fn a_peer_that_talks_nonsense_is_replaced() {
    hush();
    let stage = Stage::open();
    let mux = one_line(stage.address()).max_reply(1_000).build().unwrap();
    let endless = "z".repeat(1_001);
    let whole = format!("{endless}\n");
    let nonsense = [
        ("!nonsense\n", "!nonsense"),
        ("panic\n", "panicked"),
        ("answer\nto nobody\n", "what nobody asked"),
        (endless.as_str(), "longer than max_reply, 1000 bytes"),
        (whole.as_str(), "longer than max_reply, 1000 bytes"),
    ];
    for (said, why) in nonsense {
        let mut peer = stage.accept();
        thread::scope(|scope| {
            let call = scope.spawn(|| mux.call("question"));
            peer.hear();
            peer.say(said);
            match call.join().unwrap() {
                Ok(reply) => assert_eq!(reply, "answer"),
                Err(error) => {
                    assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Disconnected, true));
                    assert!(chain(&error).contains(why), "{}", chain(&error));
                }
            }
            eventually("it is hung up on", || peer.hear().is_none());
        });
    }
    assert_eq!(mux.stats().total().failed, 5);
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("question"));
        let mut peer = stage.accept();
        peer.hear();
        peer.say("answer\n");
        assert_eq!(call.join().unwrap().unwrap(), "answer");
    });
}

#[test]
fn the_watchdog_ends_a_silent_connection_but_for_what_may_block() {
    let stage = Stage::open();
    let mux = one_line(stage.address()).watchdog(Some(SHORT)).build().unwrap();
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("question"));
        peer.hear();
        let error = call.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Disconnected, true));
        assert!(chain(&error).contains("silent for"), "{}", chain(&error));
    });
    let mut peer = stage.accept();
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call_timeout(10 * SHORT, "block"));
        peer.hear();
        assert_eq!(lost(call.join().unwrap()), (CallErrorKind::TimedOut, true));
    });
    assert_eq!(mux.stats().total().failed, 1);
}

#[test]
fn a_reset_ends_whoever_reads_and_whoever_writes() {
    let server = Server::mute();
    let mux = one_line(server.address()).build().unwrap();
    let long = "x".repeat(64 << 20);
    thread::scope(|scope| {
        let reads = scope.spawn(|| mux.call("short"));
        eventually("it is sent", || mux.stats().total().sends >= 1 && in_flight(&mux) == 1);
        let writes = scope.spawn(|| mux.call(&long));
        eventually("both are there", || in_flight(&mux) == 2 && mux.stats().total().sends >= 3);
        server.reset_any();
        assert_eq!(lost(reads.join().unwrap()), (CallErrorKind::Disconnected, true));
        assert_eq!(lost(writes.join().unwrap()), (CallErrorKind::Disconnected, true));
    });
}

#[test]
fn a_pipeline_may_take_its_time_if_any_of_its_requests_may() {
    for requests in [["block", "question"], ["question", "block"]] {
        let stage = Stage::open();
        let mux = one_line(stage.address()).watchdog(Some(SHORT)).build().unwrap();
        let mut peer = stage.accept();
        thread::scope(|scope| {
            let call = scope.spawn(|| mux.pipeline(requests));
            peer.hear_all(2);
            thread::sleep(3 * SHORT);
            peer.say_if_heard("one\ntwo\n");
            let replies: Vec<_> = call.join().unwrap().into_iter().map(Result::unwrap).collect();
            assert_eq!(replies, ["one", "two"], "{requests:?}");
        });
    }
}

//! Programs that take the words of `corepool::mux` at their face: protocols that lie, callers without time, calls within calls, peers that
//! never stop.

mod support;

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use corepool::mux::{CallErrorKind, Decoded, Duplex, Mux, MuxBuilder, Protocol, SocketHalf};
use corepool::{Conn, Dial, Manager, Outcome, Pool, TcpManager, Verdict, Watch};
use support::{HOPELESS, Lines, ON_PURPOSE, Server, Stage, chain, each_gets_its_own, eventually, hush};

fn one_line<P: Protocol>(address: String, protocol: P) -> MuxBuilder<TcpManager, P> {
    Mux::builder(Pool::builder(TcpManager::new(address)).shards(1), protocol).call_timeout(HOPELESS)
}

type Told = Box<dyn Error + Send + Sync>;

/// Lines, but for what the request says is to be done wrong.
struct Liar;

impl Protocol for Liar {
    type Request = str;
    type Reply = String;

    fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Told> {
        match request {
            "nothing" => {}
            "less" => into.clear(),
            _ => Lines::default().encode(request, into)?,
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<String> {
        match bytes[0] {
            b'0' => Decoded::Reply("took nothing".into(), 0),
            b'1' => Decoded::Reply("took more than there is".into(), bytes.len() + 1),
            b'2' => Decoded::Push("took nothing".into(), 0),
            b'3' => Decoded::More(usize::MAX),
            b'4' => Decoded::More(0),
            _ => Lines::default().decode(bytes),
        }
    }

    fn on_push(&self, _: String) {
        panic!("{ON_PURPOSE}")
    }
}

#[test]
fn a_request_of_no_bytes_is_refused_and_takes_nobodys_reply() {
    let server = Server::echo();
    let mux = one_line(server.address(), Liar).build().unwrap();
    for _ in 0..100 {
        let error = mux.call("nothing").unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Refused, false));
        assert_eq!(mux.call("mine").unwrap(), "mine");
        let results = mux.pipeline(["a", "nothing", "b"]);
        assert_eq!([&results[0], &results[2]].map(|result| result.as_deref().unwrap()), ["a", "b"]);
        assert_eq!(results[1].as_ref().unwrap_err().kind(), CallErrorKind::Refused);
    }
    // What was encoded before it is not whole any more.
    let results = mux.pipeline(["a", "b", "less", "c"]);
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().kind() == CallErrorKind::Refused), "{results:?}");
    assert_eq!(mux.call("mine").unwrap(), "mine");
    mux.at_rest().unwrap();
}

#[test]
fn a_protocol_that_lies_about_lengths_costs_the_connection_and_no_thread() {
    hush();
    for max_reply in [1_000, usize::MAX] {
        for said in ["0\n", "1\n", "2\n", "3\n", "4"] {
            let stage = Stage::open();
            let mux = one_line(stage.address(), Liar).max_reply(max_reply).build().unwrap();
            let mut peer = stage.accept();
            thread::scope(|scope| {
                // Where more is wanted than memory has, and that is allowed, its time ends it.
                let waits = max_reply == usize::MAX && said == "3\n" || said == "4";
                let limit = if waits { Duration::from_millis(50) } else { HOPELESS };
                let mux = &mux;
                let call = scope.spawn(move || mux.call_timeout(limit, "question"));
                peer.hear();
                peer.say(said);
                let error = call.join().unwrap().unwrap_err();
                let expected = if waits { CallErrorKind::TimedOut } else { CallErrorKind::Disconnected };
                assert_eq!((error.kind(), error.was_sent()), (expected, true), "{said}: {}", chain(&error));
                if waits {
                    mux.retire();
                }
            });
            thread::scope(|scope| {
                // The line works on, with its next connection.
                let call = scope.spawn(|| mux.call("next"));
                let mut peer = stage.accept();
                peer.hear();
                peer.say(">panics when it is told\nanswer\n");
                assert_eq!(call.join().unwrap().unwrap(), "answer");
            });
        }
    }
}

#[test]
fn callers_without_time_do_not_fill_a_line_for_ever() {
    let stage = Stage::open();
    let mux = one_line(stage.address(), Lines::default()).max_in_flight(2).build().unwrap();
    let mut peer = stage.accept();
    for _ in 0..2 {
        let error = mux.call_timeout(Duration::ZERO, "at once").unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::TimedOut, true));
    }
    peer.hear_all(2);
    assert_eq!(mux.call_timeout(Duration::ZERO, "at once").unwrap_err().kind(), CallErrorKind::Overloaded);
    peer.say("late\nlate\n");
    // Nobody comes who has the time to read; all the same there is room again.
    eventually("there is room", || {
        mux.call_timeout(Duration::ZERO, "at once").unwrap_err().kind() == CallErrorKind::TimedOut
    });
    assert_eq!(peer.hear().unwrap(), "at once");
}

#[test]
fn a_deadline_without_end_is_none() {
    let server = Server::echo();
    let mux = one_line(server.address(), Lines::default()).call_timeout(Duration::MAX).build().unwrap();
    each_gets_its_own(&mux);
}

/// Calls its own mux from wherever it is called.
#[derive(Default)]
struct Nested {
    /// Weak, or the mux would hold itself for ever.
    mux: Weak<OnceLock<Mux<TcpManager, Nested>>>,
    told: Arc<AtomicUsize>,
}

impl Nested {
    fn mux(&self) -> Option<Mux<TcpManager, Nested>> {
        self.mux.upgrade()?.get().cloned()
    }

    fn call(&self) {
        let Some(mux) = self.mux() else { return };
        let error = mux.call("nested").unwrap_err();
        assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Refused, false));
        let results = mux.pipeline(["nested", "nested"]);
        assert!(results.iter().all(|result| result.as_ref().unwrap_err().kind() == CallErrorKind::Refused));
        let _ = mux.stats();
        self.told.fetch_add(1, Ordering::SeqCst);
    }
}

impl Protocol for Nested {
    type Request = str;
    type Reply = String;

    fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Told> {
        if request == "outer" {
            // Here it may: nobody waits for it.
            let inner = self.mux().map(|mux| mux.call("inner"));
            assert!(inner.is_none_or(|reply| reply.is_ok_and(|reply| reply == "inner")));
        }
        Lines::default().encode(request, into)
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<String> {
        self.call();
        Lines::default().decode(bytes)
    }

    fn on_push(&self, _: String) {
        self.call();
    }
}

#[test]
fn a_call_within_a_call_is_answered_or_refused_and_never_waits_for_itself() {
    let server = Server::echo();
    let cell = Arc::new(OnceLock::new());
    let protocol = Nested { mux: Arc::downgrade(&cell), told: Arc::default() };
    let told = Arc::clone(&protocol.told);
    let mux = one_line(server.address(), protocol).build().unwrap();
    assert!(cell.set(mux.clone()).is_ok());
    let begun = Instant::now();
    assert_eq!(mux.call("outer").unwrap(), "outer");
    // An echo: it answers nobody, and then comes the answer.
    assert_eq!(mux.pipeline([">pushed\nouter"])[0].as_deref().unwrap(), "outer");
    assert!(told.load(Ordering::SeqCst) >= 4);
    assert!(begun.elapsed() < HOPELESS, "nobody has waited for a call's whole time");
    mux.close();
}

/// Calls another mux while it reads, whose protocol calls back.
struct Crossed {
    other: Weak<OnceLock<Mux<TcpManager, Crossed>>>,
    refused: Arc<AtomicUsize>,
}

impl Protocol for Crossed {
    type Request = str;
    type Reply = String;

    fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Told> {
        Lines::default().encode(request, into)
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<String> {
        let other = self.other.upgrade().and_then(|other| other.get().cloned());
        match other.map(|other| other.call("nested")) {
            Some(Err(error)) if error.kind() == CallErrorKind::Refused => {
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            nested => assert_eq!(nested.unwrap().unwrap(), "nested"),
        }
        Lines::default().decode(bytes)
    }
}

#[test]
fn a_call_that_comes_back_by_way_of_another_mux_is_refused() {
    let server = Server::echo();
    let (one, other, refused) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()), Arc::default());
    let build = |of: &Arc<OnceLock<_>>| {
        let protocol = Crossed { other: Arc::downgrade(of), refused: Arc::clone(&refused) };
        one_line(server.address(), protocol).build().unwrap()
    };
    assert!(one.set(build(&other)).is_ok() && other.set(build(&one)).is_ok());
    let begun = Instant::now();
    assert_eq!(one.get().unwrap().call("outer").unwrap(), "outer");
    assert!(refused.load(Ordering::SeqCst) >= 1);
    assert!(begun.elapsed() < HOPELESS, "nobody has waited for a call's whole time");
    one.get().unwrap().close();
    other.get().unwrap().close();
}

/// Pushes without end.
#[test]
fn a_peer_that_never_stops_talking_holds_nobody_beyond_the_deadline() {
    let stage = Stage::open();
    let mux = one_line(stage.address(), Liar).build().unwrap();
    hush();
    let mut peer = stage.accept();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Until the client hangs up or the test is over.
            peer.hear();
            while !over.load(Ordering::SeqCst) {
                peer.say_if_heard(">and so on\n");
            }
        });
        let callers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| mux.call_timeout(Duration::from_millis(50), "question"))).collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap_err().kind(), CallErrorKind::TimedOut);
        }
        over.store(true, Ordering::SeqCst);
        mux.close();
    });
}

#[test]
fn ten_thousand_requests_at_once_are_answered_in_order() {
    let server = Server::echo();
    let mux = one_line(server.address(), Lines::default()).max_in_flight(100).max_queued(10_000).build().unwrap();
    let requests: Vec<String> = (0..10_000).map(|number| format!("request {number}")).collect();
    thread::scope(|scope| {
        for caller in 0..200 {
            let mux = &mux;
            scope.spawn(move || {
                for turn in 0..50 {
                    let token = format!("{caller} {turn}");
                    assert_eq!(mux.call(&token).unwrap(), token);
                }
            });
        }
        let results = mux.pipeline(requests.iter().map(String::as_str));
        assert!(results.iter().map(|result| result.as_ref().unwrap()).eq(&requests));
    });
    assert_eq!(mux.stats().total().replies, 20_000);
    mux.at_rest().unwrap();
}

#[test]
fn whoever_calls_while_the_mux_is_drained_is_answered_or_turned_away() {
    for _ in 0..20 {
        let server = Server::echo();
        let mux = one_line(server.address(), Lines::default()).build().unwrap();
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..8 {
                let (mux, answered) = (&mux, &answered);
                scope.spawn(move || {
                    for turn in 0.. {
                        let token = format!("{caller} {turn}");
                        match mux.call(&token) {
                            Ok(reply) => assert_eq!(reply, token),
                            Err(error) => {
                                assert_eq!(
                                    (error.kind(), error.was_sent()),
                                    (CallErrorKind::Closed, false),
                                    "{error:?}"
                                );
                                return;
                            }
                        }
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            eventually("they call", || answered.load(Ordering::SeqCst) > 100);
            let report = mux.drain(HOPELESS);
            assert!(report.is_complete(), "{report:?}");
            mux.close();
        });
        mux.at_rest().unwrap();
        eventually("the server sees it", || server.open() == 0);
    }
}

#[test]
fn handles_are_dropped_while_others_call() {
    let server = Server::echo();
    let mux = one_line(server.address(), Lines::default()).build().unwrap();
    thread::scope(|scope| {
        for caller in 0..8 {
            let mux = mux.clone();
            scope.spawn(move || {
                for turn in 0..200 {
                    let (mux, token) = (mux.clone(), format!("{caller} {turn}"));
                    assert_eq!(mux.call(&token).unwrap(), token);
                }
            });
        }
        drop(mux);
    });
    eventually("the last one closes", || server.open() == 0);
}

/// A thread that ends calls from the drop of what is its own.
#[test]
fn a_thread_that_ends_may_call() {
    thread_local! {
        static LAST: RefCell<Option<LastWord>> = const { RefCell::new(None) };
    }
    struct LastWord(Mux<TcpManager, Lines>, Arc<AtomicBool>);
    impl Drop for LastWord {
        fn drop(&mut self) {
            let reply = self.0.call("last word");
            self.1.store(reply.is_ok_and(|reply| reply == "last word"), Ordering::SeqCst);
        }
    }
    let server = Server::echo();
    let mux = one_line(server.address(), Lines::default()).build().unwrap();
    let said = Arc::new(AtomicBool::new(false));
    let (ours, heard) = (mux.clone(), Arc::clone(&said));
    thread::spawn(move || {
        LAST.set(Some(LastWord(ours.clone(), heard)));
        assert_eq!(ours.call("first word").unwrap(), "first word");
    })
    .join()
    .unwrap();
    assert!(said.load(Ordering::SeqCst));
}

/// A reply whose drop panics.
struct Sharp;

impl Drop for Sharp {
    fn drop(&mut self) {
        assert!(thread::panicking(), "{ON_PURPOSE}");
    }
}

struct SharpLines;

impl Protocol for SharpLines {
    type Request = str;
    type Reply = Sharp;

    fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Told> {
        Lines::default().encode(request, into)
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Sharp> {
        match Lines::default().decode(bytes) {
            Decoded::Reply(_, length) => Decoded::Reply(Sharp, length),
            Decoded::More(more) => Decoded::More(more),
            _ => Decoded::Broken("no reply".into()),
        }
    }
}

#[test]
fn a_late_reply_whose_drop_panics_hurts_nobody() {
    hush();
    let stage = Stage::open();
    let mux = one_line(stage.address(), SharpLines).build().unwrap();
    let mut peer = stage.accept();
    for _ in 0..3 {
        let late = mux.call_timeout(Duration::from_millis(5), "slow").map(std::mem::forget);
        assert_eq!(late.unwrap_err().kind(), CallErrorKind::TimedOut);
    }
    thread::scope(|scope| {
        let call = scope.spawn(|| mux.call("next").map(std::mem::forget));
        peer.hear_all(4);
        peer.say("late\nlate\nlate\nmine\n");
        call.join().unwrap().unwrap();
    });
    mux.at_rest().unwrap();
    assert_eq!(mux.stats().total().failed, 0);
}

/// A connection that has no halves.
struct Whole(Conn);

impl Duplex for Whole {
    type Reader = SocketHalf;
    type Writer = SocketHalf;

    fn halves(&mut self) -> io::Result<(SocketHalf, SocketHalf)> {
        Err(io::Error::other("it is in one piece"))
    }
}

struct WholeManager(TcpManager);

impl Manager for WholeManager {
    type Connection = Whole;
    type Error = <TcpManager as Manager>::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<Whole, Self::Error> {
        self.0.connect(dial).map(Whole)
    }

    fn watch(&self, connection: &Whole, on: &mut Watch<'_>) {
        self.0.watch(&connection.0, on);
    }

    fn on_return(&self, connection: &mut Whole, how: Outcome) -> Verdict {
        self.0.on_return(&mut connection.0, how)
    }
}

#[test]
fn a_connection_without_halves_is_told_of_and_dialed_with_patience() {
    let server = Server::echo();
    let pool = Pool::builder(WholeManager(TcpManager::new(server.address()))).shards(1);
    let mux = Mux::builder(pool, Lines::default()).build().unwrap();
    let error = mux.call_timeout(Duration::from_millis(300), "question").unwrap_err();
    assert!(!error.was_sent());
    assert!(chain(&error).contains("it is in one piece"), "{}", chain(&error));
    assert!(server.accepted() < 100, "{} dials", server.accepted());
}

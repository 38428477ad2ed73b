//! A line's callers that go, and its connections that end.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use loom::sync::atomic::Ordering::Relaxed;

use crate::mux_rig::{Got, Mux};
use crate::rig::{Patience::Endless, Patience::Limited, three_threads, two_threads};

/// Without it a reply that comes too late reaches the next caller, or nobody reads any more: a caller goes while it reads for both, or
/// while its reply is on the way (R1, R3, R4).
#[test]
fn time_up_against_a_late_reply() {
    let outcomes = two_threads(|| {
        let mux = Mux::connected(8);
        let gone = mux.caller(b"b", Limited);
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        let got = gone.join().unwrap();
        // What was left behind is read with the next call.
        assert_eq!(mux.call(b"c", Endless), Got::Answered);
        mux.verify();
        if got == Got::NotSent {
            assert!(!mux.connection().heard.lock().unwrap().contains(&b'b'), "given up, and written after all");
        }
        got
    });
    assert!(outcomes.contains(&Got::Answered) && outcomes.contains(&Got::TimeUp), "{outcomes:?}");
}

/// Without it the room of those who have gone is lost, and who waits for it sleeps for ever: nobody else would read their replies.
#[test]
fn those_who_have_gone_against_one_who_waits_for_room() {
    let outcomes = two_threads(|| {
        let mux = Mux::connected(1);
        mux.world.late.store(1, SeqCst);
        let gone = mux.caller(b"b", Limited);
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        let got = gone.join().unwrap();
        assert_eq!(mux.call(b"c", Endless), Got::Answered);
        mux.verify();
        got
    });
    assert!(outcomes.contains(&Got::TimeUp), "{outcomes:?}");
}

/// Without it a call ends twice or never: the peer hangs up while it is written, or read, or answered (R4).
#[test]
fn hang_up_against_a_call() {
    let outcomes = two_threads(|| {
        let mux = Mux::connected(8);
        let connection = mux.connection();
        let peer = loom::thread::spawn(move || connection.hang_up());
        let got = mux.call(b"a", Endless);
        peer.join().unwrap();
        assert_ne!(mux.call(b"b", Endless), Got::Closed);
        mux.verify();
        got
    });
    assert_eq!(outcomes, [Got::Answered, Got::Disconnected]);
}

/// Without it the second of two callers sleeps for ever, or is told of a failure that its call has not met: one writes, one reads, the
/// connection takes one byte more, and who brings the last half home clears away. What was not written goes out on the next connection
/// (R3, R5).
#[test]
fn a_failure_against_two_calls() {
    let outcomes = three_threads(|| {
        let mux = Mux::connected(8);
        // The byte of the first call, and one more.
        mux.world.takes.store(2, SeqCst);
        let other = mux.caller(b"b", Endless);
        let mut got = [mux.call(b"a", Endless), other.join().unwrap()];
        mux.verify();
        got.sort();
        got
    });
    assert!(outcomes.contains(&[Got::Answered, Got::Answered]), "{outcomes:?}");
    let rescued = |got: &[Got; 2]| got.iter().all(|got| matches!(got, Got::Answered | Got::Disconnected));
    assert!(outcomes.iter().all(rescued), "{outcomes:?}");
}

/// Without it a call that was written is written again, or one that was not is lost: the connection fails between the two (R5).
#[test]
fn a_failure_in_the_middle_of_a_batch() {
    let outcomes = three_threads(|| {
        // Both may be in one batch, since somebody has to open first. Each connection takes one byte.
        let mux = Mux::new();
        mux.world.takes.store(1, SeqCst);
        let other = mux.caller(b"b", Endless);
        let mut got = [mux.call(b"a", Endless), other.join().unwrap()];
        mux.verify();
        got.sort();
        got
    });
    // The first call of the batch was written, the other one was not: it is answered, on the next connection.
    assert_eq!(outcomes, [[Got::Answered, Got::Answered], [Got::Answered, Got::Disconnected]]);
}

/// Without it a caller that goes takes the wreck along: it reads or writes when the connection fails.
#[test]
fn a_failure_against_one_who_goes() {
    two_threads(|| {
        let mux = Mux::connected(8);
        let connection = mux.connection();
        let gone = mux.caller(b"b", Limited);
        connection.hang_up();
        gone.join().unwrap();
        assert_eq!(mux.call(b"a", Endless), if lost(&mux) { Got::Disconnected } else { Got::Answered });
        mux.verify();
    });
}

/// Whether the connection that has failed is still there: the next call meets it.
fn lost(mux: &Mux) -> bool {
    mux.line.look().tally.failed == 0
}

/// Without it a line goes on with a connection that the pool wants back, or gives it up under a call that waits.
#[test]
fn leaving_against_two_calls() {
    three_threads(|| {
        let mux = Mux::connected(8);
        let old = mux.connection();
        let noted = Arc::clone(&old);
        let pool = loom::thread::spawn(move || noted.leaving.store(true, Relaxed));
        let other = mux.caller(b"b", Endless);
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        assert_eq!(other.join().unwrap(), Got::Answered);
        pool.join().unwrap();
        let heard = old.heard.lock().unwrap().len();
        assert_eq!(mux.call(b"c", Endless), Got::Answered);
        assert_eq!(old.heard.lock().unwrap().len(), heard, "nothing new is written on it");
        mux.verify();
    });
}

/// Without it a call that is given up while somebody opens is written all the same, or the other one's bytes are cut.
#[test]
fn time_up_against_the_opening() {
    let outcomes = two_threads(|| {
        let mux = Mux::new();
        let gone = mux.caller(b"xyz", Limited);
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        let got = gone.join().unwrap();
        assert_eq!(mux.call(b"c", Endless), Got::Answered);
        if got == Got::NotSent {
            assert_eq!(*mux.connection().heard.lock().unwrap(), b"ac");
        }
        mux.verify();
        got
    });
    assert!(outcomes.contains(&Got::NotSent), "{outcomes:?}");
}

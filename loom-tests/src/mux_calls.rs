//! A line's callers among themselves: the batch, the order of replies, the change of leader, room.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::mux_rig::{Got, Mux};
use crate::rig::{Patience::Endless, three_threads, two_threads};

/// Without it one of two callers sleeps for ever, or gets the other's reply: whoever reads for both passes the lead on, or takes the
/// other's reply to its place.
#[test]
fn two_callers_share_a_connection() {
    two_threads(|| {
        let mux = Mux::connected(8);
        let other = mux.caller(b"b", Endless);
        let got = [mux.call(b"a", Endless), other.join().unwrap()];
        assert_eq!(got, [Got::Answered; 2]);
        mux.verify();
    });
}

/// Without it a caller sleeps for ever who has come between two others: a leader and a writer go, and each calls somebody else.
#[test]
fn three_callers_share_a_connection() {
    three_threads(|| {
        let mux = Mux::connected(8);
        let others = [mux.caller(b"b", Endless), mux.caller(b"c", Endless)];
        let got = mux.call(b"a", Endless);
        assert_eq!(got, Got::Answered);
        assert_eq!(others.map(|other| other.join().unwrap()), [Got::Answered; 2]);
        mux.verify();
    });
}

/// Without it a batch that was left to whoever reads stays where it is.
#[test]
fn a_batch_is_held_back_for_who_reads() {
    three_threads(|| {
        let mux = Mux::connected(8);
        let others = [mux.caller(b"b", Endless), mux.caller(b"c", Endless)];
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        assert_eq!(others.map(|other| other.join().unwrap()), [Got::Answered; 2]);
        // Nobody is left to write for: it is written at once again.
        assert_eq!(mux.call(b"d", Endless), Got::Answered);
        mux.verify();
    });
}

/// Without it a reply that is read alone leaves the next one unread: a peer answers one at a time, and the lead changes in between.
#[test]
fn replies_come_one_at_a_time() {
    three_threads(|| {
        let mux = Mux::connected(8);
        mux.world.cut.store(1, SeqCst);
        let others = [mux.caller(b"b", Endless), mux.caller(b"c", Endless)];
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        assert_eq!(others.map(|other| other.join().unwrap()), [Got::Answered; 2]);
        mux.verify();
    });
}

/// Without it the replies of one call change places: a leader that has read the first of them is overtaken by the next leader, on the way
/// to the caller (R2).
#[test]
fn the_replies_of_a_pipeline_keep_their_order() {
    three_threads(|| {
        let mux = Mux::connected(8);
        mux.world.cut.store(2, SeqCst);
        let others = [mux.caller(b"b", Endless), mux.caller(b"cd", Endless)];
        assert_eq!(mux.call(b"a", Endless), Got::Answered);
        assert_eq!(others.map(|other| other.join().unwrap()), [Got::Answered; 2]);
        mux.verify();
    });
}

/// Without it the second caller waits for ever for a connection: the first one has opened it, or was refused, and the second tries next.
#[test]
fn one_opens_for_both() {
    for refusals in [0, 1, 2] {
        let outcomes = two_threads(move || {
            let mux = Mux::new();
            mux.world.refusals.store(refusals, SeqCst);
            let other = mux.caller(b"b", Endless);
            let mut got = [mux.call(b"a", Endless), other.join().unwrap()];
            mux.verify();
            got.sort();
            got
        });
        let expected = [[Got::Answered; 2], [Got::Answered, Got::Refused], [Got::Refused; 2]][refusals];
        assert_eq!(outcomes, [expected]);
    }
}

/// Without it a caller for whom there was no room sleeps for ever: the one before it has been answered.
#[test]
fn one_waits_for_room() {
    two_threads(|| {
        let mux = Mux::connected(1);
        let other = mux.caller(b"b", Endless);
        let got = [mux.call(b"a", Endless), other.join().unwrap()];
        assert_eq!(got, [Got::Answered; 2]);
        mux.verify();
    });
}

/// Without it the last handle's close, or a drain, leaves a connection behind.
#[test]
fn close_against_a_call() {
    let outcomes = two_threads(|| {
        let mux = Mux::connected(8);
        let other = mux.caller(b"b", Endless);
        mux.line.close(&mux.world);
        let got = other.join().unwrap();
        // Whoever goes last gives the connection up.
        mux.line.wait_until_down(&crate::mux_rig::Clock::new(Endless));
        mux.verify();
        got
    });
    assert_eq!(outcomes, [Got::Answered, Got::Closed]);
}

/// Without it a caller whose call is not written yet sleeps for ever: the line is closed while somebody opens.
#[test]
fn close_against_the_opening() {
    let outcomes = two_threads(|| {
        let mux = Mux::new();
        let other = mux.caller(b"b", Endless);
        mux.line.close(&mux.world);
        let got = other.join().unwrap();
        mux.line.wait_until_down(&crate::mux_rig::Clock::new(Endless));
        mux.verify();
        got
    });
    assert_eq!(outcomes, [Got::Answered, Got::Closed]);
}

/// Without it a drain sleeps for ever, or ends before what is in flight is answered.
#[test]
fn drain_against_a_call() {
    let outcomes = two_threads(|| {
        let mux = Mux::connected(8);
        let other = Arc::clone(&mux);
        let drain = loom::thread::spawn(move || {
            other.line.close(&other.world);
            other.line.wait_until_down(&crate::mux_rig::Clock::new(Endless));
        });
        let got = mux.call(b"a", Endless);
        drain.join().unwrap();
        mux.verify();
        got
    });
    assert_eq!(outcomes, [Got::Answered, Got::Closed]);
}

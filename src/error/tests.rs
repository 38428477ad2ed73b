//! What each error says, and what it becomes as an `io::Error`.
#![forbid(unsafe_code)]

use super::*;

const MS: Duration = Duration::from_millis(1);

fn cause() -> Option<Cause> {
    Some(Arc::new(io::Error::other("no route")))
}

fn detail() -> Detail {
    Detail { waited: 50 * MS, open: 8, idle: 1, waiting: 3, ..Detail::default() }
}

#[test]
fn a_caller_that_gets_nothing_is_told_the_counts() {
    let full = Detail {
        opening: 2,
        oldest_dial: Some(700 * MS),
        closing: 4,
        paused: true,
        held_here: 5,
        cause: cause(),
        ..detail()
    };
    let counts = "8 open, 1 idle, 2 opening for up to 700 ms, 3 waiting, 4 closing, paused";
    let told = |kind, detail| GetError::detailed(kind, detail).to_string();
    assert_eq!(
        told(GetErrorKind::TimedOut, full.clone()),
        format!("timed out after 50 ms waiting for a connection ({counts}), 5 of 8 held by this thread")
    );
    assert_eq!(
        told(GetErrorKind::Down, full.clone()),
        format!("no connection can be opened, after 50 ms of waiting ({counts})")
    );
    assert_eq!(told(GetErrorKind::Refused, full), format!("the manager refuses this caller ({counts})"));
    let few = "8 open, 1 idle, 3 waiting";
    assert_eq!(
        told(GetErrorKind::Refused, detail()),
        format!("too many callers wait for a connection already ({few})")
    );
    let at_once = Detail { waited: Duration::ZERO, ..detail() };
    assert_eq!(told(GetErrorKind::Down, at_once), format!("no connection can be opened ({few})"));
}

#[test]
fn what_an_error_prints_can_be_asked() {
    let detail = Detail { opening: 2, oldest_dial: Some(7 * MS), closing: 4, held_here: 5, cause: cause(), ..detail() };
    let error = GetError::detailed(GetErrorKind::TimedOut, detail);
    assert_eq!((error.waited(), error.open(), error.idle(), error.waiting()), (50 * MS, Some(8), Some(1), Some(3)));
    assert_eq!((error.opening(), error.closing()), (Some((2, 7 * MS)), Some(4)));
    assert_eq!((error.held_by_this_thread(), error.is_paused()), (Some(5), false));
    assert_eq!(error.cause().unwrap().to_string(), "no route");
    assert_eq!(error.source().unwrap().to_string(), "no route");
    assert!(format!("{error:?}").starts_with("GetError { kind: TimedOut, detail: Detail { waited: 50ms"));
    // What allocates nothing has nothing to tell.
    let busy = GetError::busy(Busy::InUse);
    assert_eq!((busy.open(), busy.idle(), busy.waited()), (None, None, Duration::ZERO));
    assert!(busy.cause().is_none() && busy.source().is_none());
    assert_eq!(format!("{busy:?}"), "GetError { kind: Busy }");
    assert_eq!(GetError::busy(Busy::NoneOpen).open(), Some(0));
    assert!(GetError::busy(Busy::Paused).is_paused());
}

#[test]
fn each_kind_has_its_own_as_an_io_error() {
    let kinds = [
        (GetErrorKind::TimedOut, io::ErrorKind::TimedOut),
        (GetErrorKind::Down, io::ErrorKind::NotConnected),
        (GetErrorKind::Refused, io::ErrorKind::ResourceBusy),
    ];
    for (kind, expected) in kinds {
        let error = io::Error::from(GetError::detailed(kind, detail()));
        assert_eq!(error.kind(), expected);
        let inner = error.get_ref().unwrap().downcast_ref::<GetError>().unwrap();
        assert_eq!(inner.kind(), kind, "the error itself is inside");
    }
    assert_eq!(io::Error::from(GetError::closed()).kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(io::Error::from(GetError::busy(Busy::InUse)).kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_uses_error_is_itself_as_an_io_error() {
    let said = |error: io::Error| (error.kind(), error.to_string());
    let of = |error| said(io::Error::from(error));
    assert_eq!(of(UseError::<io::Error>::Get(GetError::closed())).0, io::ErrorKind::BrokenPipe);
    let own = io::Error::new(io::ErrorKind::AlreadyExists, "key");
    assert_eq!(of(UseError::Use(own)), (io::ErrorKind::AlreadyExists, "key".to_owned()));
    assert_eq!(said(UseError::Use(GetError::closed()).into()).0, io::ErrorKind::BrokenPipe);
    assert_eq!(said(UseError::Use(fmt::Error).into()), (io::ErrorKind::Other, fmt::Error.to_string()));
    let down = UseError::<GetError>::Get(GetError::detailed(GetErrorKind::Down, Detail { cause: cause(), ..detail() }));
    assert_eq!(down.source().unwrap().to_string(), "no route");
    assert_eq!(down.flatten().kind(), GetErrorKind::Down);
}

#[test]
fn a_build_that_fails_says_what_was_missing() {
    let opening = |opening, oldest_dial| BuildError::Opening {
        open: 1,
        wanted: 4,
        waited: 5_000 * MS,
        opening,
        oldest_dial,
        cause: cause(),
    };
    let text = "opened 1 of the 4 connections to begin with in 5000 ms";
    assert_eq!(opening(0, None).to_string(), text);
    let hangs = opening(2, Some(3_000 * MS));
    assert_eq!(hangs.to_string(), format!("{text} (2 opening for up to 3000 ms)"));
    assert_eq!(hangs.source().unwrap().to_string(), "no route");
    assert_eq!(BuildError::Closed.to_string(), "the pool is closed");
    assert!(BuildError::Closed.source().is_none());
}

//! What a manager's `watch` names: collected once after the dial, compared ever after.
//!
//! A client that reconnects by itself has a socket that nobody watches, with a state that nobody knows. It is found where `watch` names
//! something else than in the beginning:
//!
//! - **number and identity**, at each return: a compare each, no system call;
//! - **the file itself**, where a stream has no identity of its own: at a checkout that looks at the socket, and after a use that failed
//!   or panicked, which is when clients reconnect. The kernel is asked, on the thread of the caller, never on a reactor;
//! - **numbers that the manager gives** for the whole connection, as a client's count of its reconnections.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::duplicate::Duplicate;
use super::file::FileId;
use super::source::Interest;
use super::stream::Stream;

/// Takes what [`Manager::watch`](crate::Manager::watch) names.
#[derive(Debug)]
pub struct Watch<'a> {
    mode: Mode<'a>,
}

#[derive(Debug)]
enum Mode<'a> {
    /// At connect: every descriptor is duplicated.
    Collect {
        into: &'a mut io::Result<Vec<Duplicate>>,
        /// Numbers given before any descriptor was named.
        early: Vec<u64>,
    },
    /// Later: what is named is compared with what was.
    Compare { known: &'a [Duplicate], files: Files, at: usize, numbers: usize, found: Found },
}

/// Whether the kernel is asked for the file behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Trusted,
    Compared,
}

/// What a comparison has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Found {
    /// What was named at connect, in the same order, and fit to be lent.
    Same,
    /// A stream that is not, or could not be restored.
    Unfit,
    /// Something else.
    Replaced,
}

impl<'a> Watch<'a> {
    pub(crate) fn collect(into: &'a mut io::Result<Vec<Duplicate>>) -> Self {
        Watch { mode: Mode::Collect { into, early: Vec::new() } }
    }

    #[inline]
    pub(crate) fn compare(known: &'a [Duplicate], files: Files) -> Self {
        Watch { mode: Mode::Compare { known, files, at: 0, numbers: 0, found: Found::Same } }
    }

    #[inline]
    pub(crate) fn found(&self) -> Found {
        match &self.mode {
            Mode::Collect { .. } => Found::Same,
            Mode::Compare { known, at, numbers, found, .. } => {
                let numbered = known.first().is_none_or(|first| first.numbers.len() == *numbers);
                if *at == known.len() && numbered { *found } else { Found::Replaced }
            }
        }
    }

    /// Watches a stream socket for its peer's hang-up (FIN, RST, error). Replies cost nothing: they are not reported.
    ///
    /// Give it the type that reads and writes ([`Conn`](crate::Conn), or your own [`Stream`]) rather than its descriptor: one that is
    /// not fit is discarded at its return. Any other descriptor goes as `as_fd()`.
    ///
    /// At connect it costs a duplicate of the descriptor, for as long as the connection lives; `EMFILE` fails the dial. At a return
    /// some compares, and what the [`Stream`] costs. What it names is looked at before each checkout, as
    /// [`Manager::probe_after`](crate::Manager::probe_after) says. Does not block.
    #[inline]
    pub fn socket(&mut self, stream: impl Stream) {
        match &mut self.mode {
            Mode::Collect { into, early } => collect_stream(into, early, &stream),
            Mode::Compare { known, files, at, found, .. } => {
                let Some(watched) = next(known, at) else { return };
                let fd = stream.as_fd();
                let identity = stream.identity();
                let compared = identity.is_none() && *files == Files::Compared;
                if watched.number != fd.as_raw_fd()
                    || watched.identity != identity
                    || (compared && watched.is_another(fd))
                {
                    *found = Found::Replaced;
                } else if !stream.is_fit() || stream.restore().is_err() {
                    found.spoil();
                }
            }
        }
    }

    /// Watches a descriptor whose becoming readable is the end of the connection: a pidfd, or a pipe that only ever closes.
    ///
    /// Costs as [`socket`](Watch::socket) does, but for the look at a checkout: there is none.
    #[inline]
    pub fn readable(&mut self, fd: impl AsFd) {
        let fd = fd.as_fd();
        match &mut self.mode {
            Mode::Collect { into, early } => collect(into, early, fd, Interest::Readable, None),
            Mode::Compare { known, files, at, found, .. } => {
                let Some(watched) = next(known, at) else { return };
                if watched.number != fd.as_raw_fd() || (*files == Files::Compared && watched.is_another(fd)) {
                    *found = Found::Replaced;
                }
            }
        }
    }

    /// Gives a number that changes when the client puts another socket in the place of the one that is watched: its count of
    /// reconnections, for instance. A connection whose number has changed is discarded at its return.
    ///
    /// For a client that shows such a count but not its socket's identity, or of whose socket the manager names a duplicate of its
    /// own. May be called several times, before or after the descriptors, always in the same order; a connection that names no
    /// descriptor has nothing to be replaced, and its number goes unused. A compare, no system call.
    #[inline]
    pub fn identity(&mut self, number: u64) {
        match &mut self.mode {
            Mode::Collect { into, early } => {
                let first = into.as_mut().ok().and_then(|duplicates| duplicates.first_mut());
                first.map_or(early, |first| &mut first.numbers).push(number);
            }
            Mode::Compare { known, numbers, found, .. } => {
                if known.first().is_some_and(|first| first.numbers.get(*numbers) != Some(&number)) {
                    *found = Found::Replaced;
                }
                *numbers += 1;
            }
        }
    }
}

impl Found {
    #[cold]
    fn spoil(&mut self) {
        if *self == Found::Same {
            *self = Found::Unfit;
        }
    }
}

/// What was named in this place at connect. Past the last, the count tells.
#[inline]
fn next<'a>(known: &'a [Duplicate], at: &mut usize) -> Option<&'a Duplicate> {
    let place = *at;
    *at += 1;
    known.get(place)
}

fn collect_stream(into: &mut io::Result<Vec<Duplicate>>, early: &mut Vec<u64>, stream: &impl Stream) {
    // A login may have ended with a write, or under a timeout of its own.
    match stream.restore() {
        Ok(()) if !stream.is_fit() => *into = Err(io::ErrorKind::InvalidData.into()),
        Ok(()) => collect(into, early, stream.as_fd(), Interest::HangUp, stream.identity()),
        Err(error) => *into = Err(error),
    }
}

fn collect(
    into: &mut io::Result<Vec<Duplicate>>,
    early: &mut Vec<u64>,
    fd: BorrowedFd<'_>,
    interest: Interest,
    identity: Option<u64>,
) {
    let Ok(duplicates) = into else { return };
    match fd.try_clone_to_owned() {
        Ok(duplicate) => {
            let numbers = std::mem::take(early);
            let file = FileId::of(fd);
            duplicates.push(Duplicate { fd: duplicate, number: fd.as_raw_fd(), interest, identity, file, numbers });
        }
        Err(error) => *into = Err(error),
    }
}

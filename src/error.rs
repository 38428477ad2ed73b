//! What can go wrong, one type per operation: [`BuildError`] when a pool is made, [`GetError`] when a connection is asked for.
//!
//! The cause of a failure stands in `source()` alone, never in the text, so that a reporter that walks the chain prints it once.
//! Causes are shared ([`Cause`]): one failed dial is told to every caller that waited for it.
#![forbid(unsafe_code)]

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// An error that several callers are told of.
pub type Cause = Arc<dyn Error + Send + Sync + 'static>;

/// Why a pool could not be built. Clones share the causes: all who waited for a build are told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is outside its limits.
    Setting {
        /// The setter that was given the value.
        name: &'static str,
        /// The value.
        given: String,
        /// What would be allowed.
        limit: String,
    },
    /// [`Opening::Wait`](crate::Opening::Wait) ran out before the greater of `min_open` and `min_idle`, at least one, were open,
    /// or the manager called a dial's error permanent; or [`Opening::Once`](crate::Opening::Once), and a dial failed.
    Opening {
        /// How many were open by then.
        open: usize,
        /// How many were to be.
        wanted: usize,
        /// How long the build waited.
        waited: Duration,
        /// Dials under way by then.
        opening: usize,
        /// For how long the oldest of them had been.
        oldest_dial: Option<Duration>,
        /// What the last dial failed with; `None` if none had ended.
        cause: Option<Cause>,
    },
    /// The pool was closed while [`wait_ready`](crate::Pool::wait_ready) waited, or before.
    Closed,
    /// A reactor or one of its threads could not be made.
    Reactor(Arc<io::Error>),
    /// The `make` of a [`PoolMap`](crate::PoolMap) asks for a pool that cannot be there before the one that it makes: of the same
    /// key, or of one whose own `make` waits for this pool, directly or by way of others. To wait would be for ever.
    Circular,
    /// The `make` of a [`PoolMap`](crate::PoolMap) panicked on the thread of another caller, to whom the panic went on; this is
    /// what it said.
    Panicked(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Setting { name, given, limit } => write!(f, "{name} is {given}, but {limit}"),
            BuildError::Opening { open, wanted, waited, opening, oldest_dial, .. } => {
                write!(f, "opened {open} of the {wanted} connections to begin with in {} ms", waited.as_millis())?;
                match oldest_dial {
                    Some(oldest) => write!(f, " ({opening} opening for up to {} ms)", oldest.as_millis()),
                    None => Ok(()),
                }
            }
            BuildError::Closed => f.write_str("the pool is closed"),
            BuildError::Reactor(_) => write!(f, "could not start a reactor"),
            BuildError::Circular => f.write_str(
                "`make` asks for a pool that waits for the one that it makes: of its own key, or of one that asks for its own",
            ),
            BuildError::Panicked(message) => write!(f, "`make` panicked for another caller: {message}"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Closed | BuildError::Setting { .. } | BuildError::Circular | BuildError::Panicked(_) => None,
            BuildError::Opening { cause, .. } => cause.as_deref().map(|cause| cause as &(dyn Error + 'static)),
            BuildError::Reactor(error) => Some(&**error),
        }
    }
}

/// The kinds of [`GetError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GetErrorKind {
    /// `try_get` or a zero timeout found no idle connection.
    Busy,
    /// None came free before the deadline.
    TimedOut,
    /// The endpoint has been down for `fail_fast_after`, or its error is permanent, or a [`PoolMap`](crate::PoolMap)'s pool could not be
    /// built; the last dial's error, or the build's, is the source.
    Down,
    /// As many callers wait already as `max_waiters` allows; or the manager refuses this one, by `on_wait` or `on_checkout`,
    /// whose error is the source.
    Refused,
    /// The pool is closed.
    Closed,
}

/// Why no connection was had.
///
/// One word; [`GetErrorKind::Busy`] and [`GetErrorKind::Closed`] allocate nothing.
pub struct GetError(
    /// `None`: busy, and every connection in use. Of all errors the one that may be met in a loop.
    Option<Arc<Full>>,
);

/// An error in full.
struct Full {
    kind: GetErrorKind,
    busy: Busy,
    detail: Option<Detail>,
}

/// Those that are always the same, made once in the life of a process.
static CLOSED: LazyLock<Arc<Full>> = LazyLock::new(|| plain(GetErrorKind::Closed, Busy::InUse));
static NONE_OPEN: LazyLock<Arc<Full>> = LazyLock::new(|| plain(GetErrorKind::Busy, Busy::NoneOpen));
static PAUSED: LazyLock<Arc<Full>> = LazyLock::new(|| plain(GetErrorKind::Busy, Busy::Paused));

fn plain(kind: GetErrorKind, busy: Busy) -> Arc<Full> {
    Arc::new(Full { kind, busy, detail: None })
}

/// What "busy" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    InUse,
    NoneOpen,
    Paused,
}

/// What the pool looked like when a wait ended badly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detail {
    pub(crate) waited: Duration,
    pub(crate) open: usize,
    pub(crate) idle: usize,
    pub(crate) opening: usize,
    pub(crate) oldest_dial: Option<Duration>,
    pub(crate) waiting: usize,
    pub(crate) closing: usize,
    pub(crate) paused: bool,
    pub(crate) held_here: usize,
    pub(crate) cause: Option<Cause>,
}

impl GetError {
    pub(crate) fn closed() -> Self {
        GetError(Some(Arc::clone(&CLOSED)))
    }

    /// Makes those that are always the same, so that none allocates where it is met. For whoever builds a pool.
    pub(crate) fn prepare() {
        [&CLOSED, &NONE_OPEN, &PAUSED].into_iter().for_each(|error| {
            LazyLock::force(error);
        });
    }

    pub(crate) fn busy(busy: Busy) -> Self {
        GetError(match busy {
            Busy::InUse => None,
            Busy::NoneOpen => Some(Arc::clone(&NONE_OPEN)),
            Busy::Paused => Some(Arc::clone(&PAUSED)),
        })
    }

    #[cold]
    pub(crate) fn detailed(kind: GetErrorKind, detail: Detail) -> Self {
        GetError(Some(Arc::new(Full { kind, busy: Busy::InUse, detail: Some(detail) })))
    }

    /// What is busy, of a `Busy` one.
    fn busy_how(&self) -> Option<Busy> {
        match &self.0 {
            None => Some(Busy::InUse),
            Some(full) => (full.kind == GetErrorKind::Busy).then_some(full.busy),
        }
    }

    fn detail(&self) -> Option<&Detail> {
        self.0.as_ref().and_then(|full| full.detail.as_ref())
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> GetErrorKind {
        self.0.as_ref().map_or(GetErrorKind::Busy, |full| full.kind)
    }

    /// How long the caller waited.
    pub fn waited(&self) -> Duration {
        self.detail().map_or(Duration::ZERO, |detail| detail.waited)
    }

    /// Connections that were open, where the error tells of them: not of a `Closed` one, and of a `Busy` one only that there were none.
    pub fn open(&self) -> Option<usize> {
        self.detail().map(|detail| detail.open).or((self.busy_how() == Some(Busy::NoneOpen)).then_some(0))
    }

    /// Of these, idle by then: an idle one may have come too late, or be on its way to another caller. Not of a `Busy` or `Closed` error.
    pub fn idle(&self) -> Option<usize> {
        self.detail().map(|detail| detail.idle)
    }

    /// Connections that had left the pool and were not closed yet, where the error tells of them.
    pub fn closing(&self) -> Option<usize> {
        self.detail().map(|detail| detail.closing)
    }

    /// Whether the pool was paused.
    pub fn is_paused(&self) -> bool {
        self.busy_how() == Some(Busy::Paused) || self.detail().is_some_and(|detail| detail.paused)
    }

    /// Dials that were under way, and for how long the oldest of them had been.
    pub fn opening(&self) -> Option<(usize, Duration)> {
        self.detail().map(|detail| (detail.opening, detail.oldest_dial.unwrap_or_default()))
    }

    /// Callers that were waiting, this one not included.
    pub fn waiting(&self) -> Option<usize> {
        self.detail().map(|detail| detail.waiting)
    }

    /// Connections that the caller's own thread had taken and that are not back, also if it has passed them on to another one. Of the
    /// first 64 slots at most that are looked at.
    pub fn held_by_this_thread(&self) -> Option<usize> {
        self.detail().map(|detail| detail.held_here)
    }

    /// The last dial's error, where the pool knows of one: also the `source()`, here in a form that can be kept.
    pub fn cause(&self) -> Option<Cause> {
        self.detail().and_then(|detail| detail.cause.clone())
    }
}

impl fmt::Debug for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("GetError");
        debug.field("kind", &self.kind());
        if let Some(detail) = self.detail() {
            debug.field("detail", detail);
        }
        debug.finish()
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open, {} idle", self.open, self.idle)?;
        if self.opening > 0 {
            write!(f, ", {} opening", self.opening)?;
        }
        if let Some(oldest) = self.oldest_dial {
            write!(f, " for up to {} ms", oldest.as_millis())?;
        }
        write!(f, ", {} waiting", self.waiting)?;
        if self.closing > 0 {
            write!(f, ", {} closing", self.closing)?;
        }
        if self.paused { f.write_str(", paused") } else { Ok(()) }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = Detail::default();
        let detail = self.detail().unwrap_or(&none);
        match self.kind() {
            GetErrorKind::Busy => f.write_str(match self.0.as_ref().map_or(Busy::InUse, |full| full.busy) {
                Busy::InUse => "every connection is in use",
                Busy::NoneOpen => "no connection is open yet",
                Busy::Paused => "the pool is paused",
            }),
            GetErrorKind::Closed => f.write_str("the pool is closed"),
            GetErrorKind::Refused => {
                let why = match detail.cause {
                    Some(_) => "the manager refuses this caller",
                    None => "too many callers wait for a connection already",
                };
                write!(f, "{why} ({detail})")
            }
            GetErrorKind::Down => {
                f.write_str("no connection can be opened")?;
                if detail.waited.as_millis() > 0 {
                    write!(f, ", after {} ms of waiting", detail.waited.as_millis())?;
                }
                write!(f, " ({detail})")
            }
            GetErrorKind::TimedOut => {
                write!(f, "timed out after {} ms waiting for a connection", detail.waited.as_millis())?;
                write!(f, " ({detail})")?;
                if detail.held_here > 0 {
                    write!(f, ", {} of {} held by this thread", detail.held_here, detail.open)?;
                }
                Ok(())
            }
        }
    }
}

impl Error for GetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.detail()?.cause.as_deref()?;
        Some(cause as &(dyn Error + 'static))
    }
}

impl From<GetError> for io::Error {
    /// Busy becomes `WouldBlock`, TimedOut `TimedOut`, Down `NotConnected`, Refused `ResourceBusy`, Closed `BrokenPipe`.
    fn from(error: GetError) -> io::Error {
        let kind = match error.kind() {
            GetErrorKind::Busy => io::ErrorKind::WouldBlock,
            GetErrorKind::TimedOut => io::ErrorKind::TimedOut,
            GetErrorKind::Down => io::ErrorKind::NotConnected,
            GetErrorKind::Refused => io::ErrorKind::ResourceBusy,
            GetErrorKind::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}

/// Why [`Pool::with`](crate::Pool::with) has no result: no connection was had, or the closure failed.
///
/// Its text and its `source()` are those of the error inside, so that a reporter that walks the chain prints each once. `?` turns
/// it into a boxed error, into `anyhow`'s and its kin, and into an [`io::Error`], which stays itself if the closure's error was one.
/// [`flatten`](UseError::flatten) makes it the closure's own type, where that can hold a [`GetError`].
#[derive(Debug)]
pub enum UseError<E> {
    /// No connection was had, and the closure did not run.
    Get(GetError),
    /// What the closure returned.
    Use(E),
}

impl<E: From<GetError>> UseError<E> {
    /// The closure's own error type, for both.
    ///
    /// For closures that return `anyhow`'s error, a boxed one, or an enum of the caller's that has a `From<GetError>`:
    /// `pool.with(|conn| …).map_err(UseError::flatten)?`.
    pub fn flatten(self) -> E {
        match self {
            UseError::Get(error) => error.into(),
            UseError::Use(error) => error,
        }
    }
}

impl<E: fmt::Display> fmt::Display for UseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UseError::Get(error) => error.fmt(f),
            UseError::Use(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for UseError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            UseError::Get(error) => error.source(),
            UseError::Use(error) => error.source(),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<UseError<E>> for io::Error {
    /// An `io::Error` stays itself; a [`GetError`] becomes what its own conversion says; anything else is wrapped, as `Other`.
    fn from(error: UseError<E>) -> io::Error {
        let error = match error {
            UseError::Get(error) => return error.into(),
            UseError::Use(error) => error,
        };
        let mut error = Some(error);
        if let Some(io) = (&mut error as &mut dyn Any).downcast_mut::<Option<io::Error>>().and_then(Option::take) {
            return io;
        }
        if let Some(get) = (&mut error as &mut dyn Any).downcast_mut::<Option<GetError>>().and_then(Option::take) {
            return get.into();
        }
        match error {
            Some(error) => io::Error::other(error),
            None => unreachable!("it is taken only where it is returned"),
        }
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests;

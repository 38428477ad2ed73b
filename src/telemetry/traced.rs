//! Events as those of the `tracing` crate.
#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use tracing::{Span, debug, info, info_span, trace, warn};

use crate::observe::{Event, Observer};

/// An observer that tells the `tracing` crate: an event for each of the pool's, and a span for each outage. Feature `tracing`.
///
/// The target is `corepool`, the field `pool` the name that is given here. The levels are meant to let people sleep:
///
/// | level | what |
/// |---|---|
/// | WARN | an outage begins; a lease exceeds `hold_limit`, or a hook its caller's deadline; events were missed; a reactor is deaf or has panicked |
/// | INFO | an outage ends; a lease that exceeded `hold_limit` is back; a reactor runs unpinned |
/// | DEBUG | a dial succeeds or fails; a connection is discarded; a caller waits in vain |
/// | TRACE | a connection was closed; a caller waited and was served |
///
/// So an outage is two lines, however many dials fail in it. Its span, `outage`, is open from the first failed dial that made it one until
/// a dial succeeds; what the pool tells meanwhile is inside.
///
/// Runs where observers do, on a background thread; costs a checkout nothing. Of secrets it knows only what the manager's own errors say.
///
/// ```
/// # use corepool::*;
/// # use corepool::telemetry::Traced;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = u32;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
/// # }
/// # fn main() -> Result<(), BuildError> {
/// let pool = Pool::builder(Numbers).observer(Traced::new("orders")).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Traced {
    pool: String,
    /// The outage under way.
    outage: Mutex<Span>,
}

impl Traced {
    /// For the pool of this name, which stands in the field `pool` of all that is told.
    pub fn new(pool: impl Into<String>) -> Self {
        Traced { pool: pool.into(), outage: Mutex::new(Span::none()) }
    }

    fn span(&self) -> Span {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, span: Span) -> Span {
        std::mem::replace(&mut *self.outage.lock().unwrap_or_else(PoisonError::into_inner), span)
    }
}

impl Observer for Traced {
    fn event(&self, event: &Event) {
        let pool = &*self.pool;
        let micros = |time: &std::time::Duration| time.as_micros() as u64;
        if let Event::OutageBegan { cause } = event {
            warn!(pool, cause = %cause, "outage began");
            self.replace(info_span!("outage", pool));
            return;
        }
        if let Event::OutageEnded { lasted } = event {
            drop(self.replace(Span::none()));
            info!(pool, lasted_us = micros(lasted), "outage ended");
            return;
        }
        let _outage = self.span().entered();
        match event {
            Event::HoldExceeded { thread, held, cut } => {
                warn!(pool, thread, held_us = micros(held), cut, "hold limit exceeded");
            }
            Event::HoldEnded { thread, held } => info!(pool, thread, held_us = micros(held), "held lease is back"),
            Event::HookOverran { thread } => warn!(pool, thread, "hook overran the caller's deadline"),
            Event::Deaf { reactors } => warn!(pool, reactors, "reactors hear no hang-up any more"),
            Event::ReactorPanicked { panics } => warn!(pool, panics, "a reactor survived a panic"),
            Event::Missed { events } => warn!(pool, events, "events missed"),
            Event::Unpinned { reactors } => info!(pool, reactors, "reactors run unpinned"),
            Event::Opened { took } => debug!(pool, took_us = micros(took), "connection opened"),
            Event::DialFailed { cause } => debug!(pool, cause = %cause, "dial failed"),
            Event::Discarded { why, cause } => {
                let cause = cause.as_ref().map(tracing::field::display);
                debug!(pool, reason = why.name(), cause, "connection discarded");
            }
            Event::Abandoned { kind, waited } => {
                debug!(pool, ?kind, waited_us = micros(waited), "caller waited in vain")
            }
            Event::Closed { why, took } => {
                trace!(pool, reason = why.name(), took_us = micros(took), "connection closed")
            }
            Event::Waited { waited } => trace!(pool, waited_us = micros(waited), "caller waited"),
            // Above.
            Event::OutageBegan { .. } | Event::OutageEnded { .. } => {}
        }
    }
}

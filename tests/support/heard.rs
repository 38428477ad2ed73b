//! An observer that writes down what it is told.

use std::sync::{Arc, Mutex};
use std::thread;

use corepool::{CloseReason, Event, GetErrorKind, Observer};

/// What was told, in order, each with the name of the thread that told it. Clones share one list.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    events: Arc<Mutex<Vec<(Event, String)>>>,
}

impl Observer for Heard {
    fn event(&self, event: &Event) {
        let teller = thread::current().name().unwrap_or_default().to_owned();
        self.events.lock().unwrap().push((event.clone(), teller));
    }
}

impl Heard {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().iter().map(|(event, _)| event.clone()).collect()
    }

    /// The threads that told.
    pub(crate) fn tellers(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|(_, teller)| teller.clone()).collect()
    }

    /// Events for which `is` holds.
    pub(crate) fn count(&self, mut is: impl FnMut(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|(event, _)| is(event)).count()
    }

    pub(crate) fn discarded(&self, reason: CloseReason) -> usize {
        self.count(|event| matches!(event, Event::Discarded { why, .. } if *why == reason))
    }

    pub(crate) fn closed(&self, reason: CloseReason) -> usize {
        self.count(|event| matches!(event, Event::Closed { why, .. } if *why == reason))
    }

    pub(crate) fn abandoned(&self, with: GetErrorKind) -> usize {
        self.count(|event| matches!(event, Event::Abandoned { kind, .. } if *kind == with))
    }
}

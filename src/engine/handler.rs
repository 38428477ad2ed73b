//! What the reactor and the closer call.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::closing::Room;
use super::dialing::DialError;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::Manager;
use crate::observe::Event;
use crate::os::background;
use crate::os::clock;
use crate::os::sys::probes;
use crate::watch::handler::Handler;

impl<M: Manager> Handler for Engine<M> {
    fn hung_up(&self, key: u64) {
        let life = Life::from_word(key);
        probes::hang_up(self.number(), life.slot.index());
        let notes = self.bag.slot(life.slot).notes();
        if notes.generation() == life.generation && notes.has(Notes::FRESH) && !notes.is_leaving() {
            // Nobody has used it. The pace before the permit, which would be dialed with at once.
            if self.bag.waiting() > 0 {
                self.came_to_nothing(Arc::new(DialError::Stillborn));
            } else {
                self.perform_all(self.dialing.lost_unused(&self.bag, &self.live.settings()));
            }
        }
        self.dismiss(life, Notes::DEAD);
    }

    fn unwatched(&self, key: u64) {
        let life = Life::from_word(key);
        // Looked at on every checkout from now on, if it is a socket.
        self.bag.note(life, Notes::PROBE);
        // Which tells the observer.
        self.upkeep.sweep_by(clock::now());
    }

    fn survived(&self, panics: u64) {
        self.observing.tell(|| Event::ReactorPanicked { panics });
    }

    fn tick(&self, now: u64) -> u64 {
        let dials = self.tick_dials(now);
        self.sweep_if_due(now);
        dials.min(self.upkeep.due(now))
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}

impl<M: Manager> Room for Engine<M> {
    fn closed(&self) {
        self.perform(self.bag.closed());
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}

#[cfg(all(test, not(any(corepool_loom, corepool_unwatched))))]
mod tests {
    use std::convert::Infallible;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::lockfree::bits::SlotId;
    use crate::manager::{Dial, Watch};
    use crate::pool::Pool;
    use crate::watch::reactors::Reactors;

    struct Plain;

    impl Manager for Plain {
        type Connection = ();
        type Error = Infallible;

        fn connect(&self, _dial: &Dial<'_>) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// What the observer was told of survived panics, and on which thread.
    type Told = Arc<Mutex<Vec<(u64, Option<String>)>>>;

    fn pool(reactors: &Reactors) -> (Pool<Plain>, Told) {
        let told = Told::default();
        let tells = Arc::clone(&told);
        let observer = move |event: &Event| {
            if let Event::ReactorPanicked { panics } = event {
                let thread = std::thread::current().name().map(str::to_owned);
                tells.lock().unwrap().push((*panics, thread));
            }
        };
        (Pool::builder(Plain).max_size(1).reactors(reactors.clone()).observer(observer).build().unwrap(), told)
    }

    #[test]
    fn a_panic_that_a_reactor_survives_is_told_to_the_pool_it_was_for() {
        let reactors = Reactors::new(1);
        let ((pool, told), (_other, told_other)) = (pool(&reactors), pool(&reactors));
        // A fault such as this crate might have: the hang-up of a connection in a slot that the pool does not have.
        let nowhere = Life { slot: SlotId::at(60_000), generation: 0 }.to_word();
        for panics in 1..=2 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut named = Ok(Vec::new());
            Watch::collect(&mut named).socket(ours.as_fd());
            let sockets: Arc<[_]> = named.unwrap().into();
            let handler = pool.engine.me.clone();
            let _registration = reactors.at(None).unwrap().watch(&sockets, 0, handler, nowhere).unwrap();
            drop(theirs);
            let deadline = Instant::now() + Duration::from_secs(60);
            while told.lock().unwrap().len() < panics && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            let told = told.lock().unwrap().clone();
            assert_eq!(told.last(), Some(&(panics as u64, Some("corepool-bg".to_owned()))), "{told:?}");
            assert_eq!((told.len(), reactors.panics()), (panics, panics as u64));
        }
        assert!(told_other.lock().unwrap().is_empty());
    }
}

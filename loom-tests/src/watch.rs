//! The watch under the engine, for its models: the real hold on sockets, the real handlers, and a reactor whose ticks are a thread's of the
//! model.

#[path = "../../src/watch/duplicate.rs"]
pub(crate) mod duplicate;
#[path = "../../src/watch/file.rs"]
pub(crate) mod file;
#[path = "../../src/watch/handler.rs"]
pub(crate) mod handler;
#[path = "../../src/watch/naming.rs"]
pub(crate) mod naming;
#[path = "../../src/watch/probe.rs"]
pub(crate) mod probe;
#[path = "../../src/watch/stream.rs"]
pub(crate) mod stream;

/// What epoll is told, without epoll.
pub(crate) mod source {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Interest {
        HangUp,
        Readable,
    }
}

/// The reactor: its deadlines only.
pub(crate) mod reactor {
    use std::fmt;
    use std::io;
    use std::sync::atomic::{AtomicBool as Untracked, Ordering::Relaxed};
    use std::sync::{Arc, Weak};

    use loom::sync::{Condvar, Mutex};

    use super::duplicate::Duplicate;
    use super::handler::{Handler, Handlers};
    use crate::lockfree::alarm::{Alarm, Due, NEVER};
    use crate::os::clock;

    pub(crate) struct Reactor {
        alarm: Alarm,
        handlers: Handlers,
        /// Whether deadlines are part of the model: else nobody is reminded of any.
        keeps_time: Untracked,
        rung: Mutex<bool>,
        bell: Condvar,
    }

    impl Reactor {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Reactor {
                alarm: Alarm::new(),
                handlers: Handlers::default(),
                keeps_time: Untracked::new(false),
                rung: Mutex::new(false),
                bell: Condvar::new(),
            })
        }

        /// Deadlines are part of this model.
        pub(crate) fn keep_time(&self) {
            self.keeps_time.store(true, Relaxed);
        }

        /// Announce, look, promise: as the real one. Returns by when it has to wake.
        pub(crate) fn tick(&self) -> u64 {
            self.alarm.announce();
            let now = clock::now();
            let (handlers, mut due) = self.handlers.take_due(now);
            for (handler, its_due) in handlers {
                let next = handler.tick(now);
                its_due.lower(next);
                due = due.min(next);
                handler.release();
            }
            self.alarm.promise(due)
        }

        /// Ticks whenever it is due, until `done`. Nothing that is due later comes in a model.
        pub(crate) fn run(&self, done: impl Fn() -> bool) {
            loop {
                let due = self.tick();
                if done() {
                    return;
                }
                if due > clock::now() {
                    let mut rung = self.rung.lock().unwrap();
                    while !*rung {
                        rung = self.bell.wait(rung).unwrap();
                    }
                    *rung = false;
                }
            }
        }

        pub(crate) fn serve(self: &Arc<Self>, handler: Weak<dyn Handler>) -> Arc<Timer> {
            let (number, due) = self.handlers.enter(handler);
            Arc::new(Timer { reactor: Arc::clone(self), number, due })
        }

        pub(crate) fn watch(
            self: &Arc<Self>,
            _sockets: &Arc<[Duplicate]>,
            _place: usize,
            _handler: Weak<dyn Handler>,
            _key: u64,
        ) -> io::Result<Registration> {
            Ok(Registration)
        }

        pub(crate) fn is_in_child(&self) -> bool {
            false
        }
    }

    pub(crate) struct Timer {
        reactor: Arc<Reactor>,
        number: u64,
        due: Arc<Due>,
    }

    impl Timer {
        pub(crate) fn remind(&self, due: u64) {
            if !self.reactor.keeps_time.load(Relaxed) || due == NEVER {
                return;
            }
            self.due.lower(due);
            if self.reactor.alarm.lower(due) {
                *self.reactor.rung.lock().unwrap() = true;
                self.reactor.bell.notify_one();
            }
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            self.reactor.handlers.leave(self.number);
        }
    }

    impl fmt::Debug for Timer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Timer").field("number", &self.number).finish_non_exhaustive()
        }
    }

    #[derive(Debug)]
    pub(crate) struct Registration;
}

/// One of them.
pub(crate) mod reactors {
    use std::cell::RefCell;
    use std::io;
    use std::sync::Arc;

    use super::reactor::Reactor;

    thread_local!(static SHARED: RefCell<Option<Arc<Reactor>>> = const { RefCell::new(None) });

    #[derive(Clone)]
    pub(crate) struct Reactors {
        pub(crate) only: Arc<Reactor>,
    }

    impl Reactors {
        pub(crate) fn at(&self, _core: Option<usize>) -> io::Result<&Arc<Reactor>> {
            Ok(&self.only)
        }

        /// That of the process: this model's.
        pub(crate) fn shared() -> Reactors {
            let only = SHARED.with_borrow_mut(|shared| Arc::clone(shared.get_or_insert_with(Reactor::new)));
            Reactors { only }
        }

        /// A model begins, with nothing left of another.
        pub(crate) fn begin() {
            SHARED.take();
        }

        pub(crate) fn unpinned(&self) -> usize {
            0
        }

        pub(crate) fn deaf(&self) -> usize {
            0
        }
    }
}

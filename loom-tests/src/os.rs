//! The machine under the engine, for its models: a clock that the model sets, threads that loom runs, one core unless a thread says
//! otherwise. All of it belongs to the model's own thread, on which loom runs all of its threads.

/// The clock.
pub(crate) mod clock {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    pub(crate) const NEVER: u64 = u64::MAX;

    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });

    pub(crate) fn now() -> u64 {
        NOW.get()
    }

    /// The model's time is this from now on.
    pub(crate) fn set(now: u64) {
        NOW.set(now);
    }

    pub(crate) fn nanos(duration: Duration) -> u64 {
        u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
    }

    pub(crate) fn instant(_at: u64) -> Instant {
        Instant::now()
    }

    pub(crate) fn until(at: u64, now: u64) -> Duration {
        Duration::from_nanos(at.saturating_sub(now))
    }
}

/// Panics are a model's verdicts, and go through.
pub(crate) mod contain {
    #[derive(Debug)]
    pub(crate) struct Panicked;

    pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
        Ok(call())
    }
}

/// Background threads. A model has few threads, so it says what becomes of a job.
pub(crate) mod background {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::io;
    use std::sync::Arc;

    use loom::thread::JoinHandle;

    pub(crate) type Job = Box<dyn FnOnce() + Send>;

    /// Where jobs run.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Where {
        /// On the thread that has them run, at once, as the rig of the bag's models dials.
        Here,
        /// On whichever thread of the model asks for the next.
        Later,
        /// On a thread of their own.
        Beside,
    }

    thread_local! {
        static WHERE: Cell<Where> = const { Cell::new(Where::Here) };
        static JOBS: RefCell<VecDeque<Job>> = const { RefCell::new(VecDeque::new()) };
        static THREADS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    }

    /// Jobs run there from now on.
    pub(crate) fn runs(at: Where) {
        WHERE.set(at);
        JOBS.take();
    }

    /// A model begins, with nothing left of another.
    pub(crate) fn begin() {
        runs(Where::Here);
        THREADS.take();
    }

    /// Sleeps until all threads are back.
    pub(crate) fn join() {
        while let Some(thread) = THREADS.with_borrow_mut(Vec::pop) {
            thread.join().unwrap();
        }
    }

    /// The oldest that nobody has run.
    pub(crate) fn next() -> Option<Job> {
        JOBS.with_borrow_mut(VecDeque::pop_front)
    }

    pub(crate) fn run(job: Job) -> Result<(), (Job, io::Error)> {
        match WHERE.get() {
            Where::Here => job(),
            Where::Later => JOBS.with_borrow_mut(|jobs| jobs.push_back(job)),
            Where::Beside => {
                let thread = loom::thread::spawn(job);
                THREADS.with_borrow_mut(|threads| threads.push(thread));
            }
        }
        Ok(())
    }

    /// There is always a thread here.
    pub(crate) fn run_some_time(job: Job) {
        let _ = run(job);
    }

    pub(crate) fn drop_elsewhere<T: Send + Sync + 'static>(handle: Arc<T>) {
        drop(handle);
    }
}

/// Threads, by number.
pub(crate) mod thread {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use loom::thread::ThreadId;

    thread_local!(static NUMBERS: RefCell<HashMap<ThreadId, u32>> = RefCell::default());

    pub(crate) fn number() -> u32 {
        let me = loom::thread::current().id();
        NUMBERS.with_borrow_mut(|numbers| {
            let next = numbers.len() as u32 + 1;
            *numbers.entry(me).or_insert(next)
        })
    }

    pub(crate) fn known() -> Option<u32> {
        Some(number())
    }

    pub(crate) fn name(number: u32) -> String {
        number.to_string()
    }
}

/// Calls that a model does not make; and the one by which a blocked call is ended.
pub(crate) mod sys {
    use std::cell::Cell;
    use std::os::fd::{BorrowedFd, OwnedFd};

    thread_local!(static TELL: Cell<fn(u64)> = const { Cell::new(|_| ()) });

    /// This is told of each socket that is shut down from now on.
    pub(crate) fn tell_of_cuts(tell: fn(u64)) {
        TELL.set(tell);
    }

    /// Which socket it is, whichever of its descriptors.
    pub(crate) fn cookie(socket: BorrowedFd<'_>) -> u64 {
        rustix::net::sockopt::socket_cookie(socket).expect("a socket")
    }

    pub(crate) fn shut_down(socket: &OwnedFd) {
        TELL.get()(cookie(std::os::fd::AsFd::as_fd(socket)));
    }

    pub(crate) fn current_core() -> usize {
        0
    }

    pub(crate) fn rests() -> i64 {
        0
    }

    pub(crate) mod probes {
        pub(crate) fn get(_pool: usize, _shard: usize, _slot: usize) {}
        pub(crate) fn put(_pool: usize, _shard: usize, _slot: usize) {}
        pub(crate) fn wait(_pool: usize, _waited: usize, _served: usize) {}
        pub(crate) fn steal(_pool: usize, _shard: usize, _slot: usize) {}
        pub(crate) fn dial(_pool: usize, _took: usize, _opened: usize) {}
        pub(crate) fn close(_pool: usize, _reason: usize, _length: usize) {}
        pub(crate) fn hang_up(_pool: usize, _slot: usize) {}
    }
}

/// Cores, of which each has a shard.
pub(crate) mod topology {
    #[derive(Debug)]
    pub(crate) struct Dispatch {
        neighbours: Vec<Vec<u16>>,
    }

    impl Dispatch {
        pub(crate) fn over(shards: u16) -> Self {
            let others = |shard: u16| (0..shards).filter(|other| *other != shard).collect();
            Dispatch { neighbours: (0..shards).map(others).collect() }
        }

        pub(crate) fn shard_of(&self, core: usize) -> usize {
            core % self.neighbours.len()
        }

        pub(crate) fn home_core(&self, _shard: usize) -> Option<usize> {
            None
        }

        pub(crate) fn neighbours(&self, shard: usize) -> (&[u16], &[u16]) {
            (&self.neighbours[shard], &[])
        }
    }
}

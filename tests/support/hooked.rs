//! A manager around another, some of whose hooks are the test's.

use std::any::Any;
use std::time::Duration;

use corepool::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};

type OnReturn<C> = Box<dyn Fn(&mut C, Outcome) -> Verdict + Send + Sync>;
type OnError<C> = Box<dyn Fn(&mut C, &dyn Any) -> Verdict + Send + Sync>;
type IsPermanent<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;
type OnIdleData<C> = Box<dyn Fn(&mut C, &[u8]) -> Verdict + Send + Sync>;
type BeforeClose<C> = Box<dyn Fn(&mut C, CloseReason) + Send + Sync>;
type BeforeWatch<C> = Box<dyn Fn(&C) + Send + Sync>;
type OnCheckout<C, E> = Box<dyn Fn(&mut C) -> Result<Verdict, E> + Send + Sync>;
type OnWait<E> = Box<dyn Fn(usize) -> Result<(), E> + Send + Sync>;
type Ping<C, E> = Box<dyn Fn(&mut C) -> Result<(), E> + Send + Sync>;

/// Does as the manager inside, except where it was told otherwise.
pub(crate) struct Hooked<M: Manager> {
    inner: M,
    on_return: Option<OnReturn<M::Connection>>,
    on_error: Option<OnError<M::Connection>>,
    is_permanent: Option<IsPermanent<M::Error>>,
    on_idle_data: Option<OnIdleData<M::Connection>>,
    before_close: Option<BeforeClose<M::Connection>>,
    before_watch: Option<BeforeWatch<M::Connection>>,
    on_checkout: Option<OnCheckout<M::Connection, M::Error>>,
    on_wait: Option<OnWait<M::Error>>,
    ping: Option<Ping<M::Connection, M::Error>>,
    probe_after: Option<Duration>,
}

impl<M: Manager> Hooked<M> {
    pub(crate) fn new(inner: M) -> Self {
        Hooked {
            inner,
            on_return: None,
            on_error: None,
            is_permanent: None,
            on_idle_data: None,
            before_close: None,
            before_watch: None,
            on_checkout: None,
            on_wait: None,
            ping: None,
            probe_after: None,
        }
    }

    pub(crate) fn on_return(
        mut self,
        hook: impl Fn(&mut M::Connection, Outcome) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.on_return = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_error(
        mut self,
        hook: impl Fn(&mut M::Connection, &dyn Any) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    pub(crate) fn permanent_if(mut self, hook: impl Fn(&M::Error) -> bool + Send + Sync + 'static) -> Self {
        self.is_permanent = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_idle_data(
        mut self,
        hook: impl Fn(&mut M::Connection, &[u8]) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.on_idle_data = Some(Box::new(hook));
        self
    }

    pub(crate) fn before_close(
        mut self,
        hook: impl Fn(&mut M::Connection, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.before_close = Some(Box::new(hook));
        self
    }

    pub(crate) fn before_watch(mut self, hook: impl Fn(&M::Connection) + Send + Sync + 'static) -> Self {
        self.before_watch = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_checkout(
        mut self,
        hook: impl Fn(&mut M::Connection) -> Result<Verdict, M::Error> + Send + Sync + 'static,
    ) -> Self {
        self.on_checkout = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_wait(mut self, hook: impl Fn(usize) -> Result<(), M::Error> + Send + Sync + 'static) -> Self {
        self.on_wait = Some(Box::new(hook));
        self
    }

    pub(crate) fn ping(
        mut self,
        hook: impl Fn(&mut M::Connection) -> Result<(), M::Error> + Send + Sync + 'static,
    ) -> Self {
        self.ping = Some(Box::new(hook));
        self
    }

    pub(crate) fn probe_after(mut self, idle: Duration) -> Self {
        self.probe_after = Some(idle);
        self
    }
}

impl<M: Manager> Manager for Hooked<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<M::Connection, M::Error> {
        self.inner.connect(dial)
    }

    fn watch(&self, connection: &M::Connection, on: &mut Watch<'_>) {
        if let Some(hook) = &self.before_watch {
            hook(connection);
        }
        self.inner.watch(connection, on);
    }

    fn on_idle_data(&self, connection: &mut M::Connection, peeked: &[u8]) -> Verdict {
        match &self.on_idle_data {
            Some(hook) => hook(connection, peeked),
            None => self.inner.on_idle_data(connection, peeked),
        }
    }

    fn on_return(&self, connection: &mut M::Connection, how: Outcome) -> Verdict {
        match &self.on_return {
            Some(hook) => hook(connection, how),
            None => self.inner.on_return(connection, how),
        }
    }

    fn is_permanent(&self, error: &M::Error) -> bool {
        match &self.is_permanent {
            Some(hook) => hook(error),
            None => self.inner.is_permanent(error),
        }
    }

    fn on_error(&self, connection: &mut M::Connection, error: &dyn Any) -> Verdict {
        match &self.on_error {
            Some(hook) => hook(connection, error),
            // Not straight to the manager inside, whose default would pass this one's `on_return` by.
            None => self.on_return(connection, Outcome::Failed),
        }
    }

    fn on_checkout(&self, connection: &mut M::Connection) -> Result<Verdict, M::Error> {
        match &self.on_checkout {
            Some(hook) => hook(connection),
            None => self.inner.on_checkout(connection),
        }
    }

    fn on_wait(&self, waiting: usize) -> Result<(), M::Error> {
        match &self.on_wait {
            Some(hook) => hook(waiting),
            None => self.inner.on_wait(waiting),
        }
    }

    fn ping(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        match &self.ping {
            Some(hook) => hook(connection),
            None => self.inner.ping(connection),
        }
    }

    fn close(&self, mut connection: M::Connection, why: CloseReason) {
        if let Some(hook) = &self.before_close {
            hook(&mut connection, why);
        }
        self.inner.close(connection, why);
    }

    fn probe_after(&self) -> Duration {
        self.probe_after.unwrap_or_else(|| self.inner.probe_after())
    }
}

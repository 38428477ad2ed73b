//! Leases as a map hands them out, for the models of maps.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::checkout::Hit;
use crate::error::UseError;
use crate::lockfree::bag::Claim;
use crate::manager::{Manager, Outcome};

pub(crate) struct Lease<'a, M: Manager> {
    engine: Arc<Engine<M>>,
    claim: Option<Claim>,
    _pool: PhantomData<&'a M>,
}

impl<M: Manager> Lease<'_, M> {
    pub(crate) fn new(engine: Arc<Engine<M>>, claim: Claim) -> Self {
        Lease { engine, claim: Some(claim), _pool: PhantomData }
    }
}

impl<M: Manager> Drop for Lease<'_, M> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.engine.check_in(self.engine.hit(claim), Outcome::Done);
        }
    }
}

pub(crate) struct Loan<'a, M: Manager> {
    engine: &'a Engine<M>,
    hit: Hit<'a, M>,
}

impl<'a, M: Manager> Loan<'a, M> {
    pub(crate) fn new(engine: &'a Engine<M>, hit: Hit<'a, M>) -> Self {
        Loan { engine, hit }
    }

    pub(crate) fn lend<T, E>(mut self, f: impl FnOnce(&mut M::Connection) -> Result<T, E>) -> Result<T, UseError<E>> {
        let done = f(&mut self.hit.slot.resident_mut(&mut self.hit.claim).connection);
        self.engine.check_in(self.hit, Outcome::Done);
        done.map_err(UseError::Use)
    }
}

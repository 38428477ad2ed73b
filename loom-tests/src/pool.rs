//! A pool as a map has it, for the models of maps: the real engine, without what a user calls.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::patience::Patience;
use crate::error::GetError;
use crate::lease::Lease;
use crate::manager::Manager;

pub(crate) struct Pool<M: Manager> {
    pub(crate) engine: Arc<Engine<M>>,
}

impl<M: Manager> Pool<M> {
    pub(crate) fn get_owned(&self) -> Result<Lease<'static, M>, GetError> {
        let claim = self.engine.check_out(Patience::Usual)?.claim;
        Ok(Lease::new(Arc::clone(&self.engine), claim))
    }

    pub(crate) fn close(&self) {
        self.engine.close();
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { engine: Arc::clone(&self.engine) }
    }
}

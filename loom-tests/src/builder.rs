//! What makes a pool for a map, for the models of maps: settings as the rig has them.

use std::sync::Arc;

use crate::engine::{Engine, Plan};
use crate::error::BuildError;
use crate::manager::Manager;
use crate::observe::Observing;
use crate::os::topology::Dispatch;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::watch::reactors::Reactors;

pub struct Builder<M: Manager> {
    pub(crate) manager: Result<M, BuildError>,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn build(self) -> Result<Pool<M>, BuildError> {
        let settings = Settings { max_size: 1, min_open: 0, max_closing: 9, dials_at_once: 1, ..Settings::usual() };
        let plan = Plan {
            settings,
            capacity: 1,
            shards: 1,
            dispatch: Dispatch::over(1),
            reactors: Reactors::shared(),
            observing: Observing::new(None),
            lazy: true,
        };
        let engine = Engine::new(Arc::new(self.manager?), plan).expect("a model has its reactor");
        Ok(Pool { engine })
    }
}

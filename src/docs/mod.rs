//! Pages that are only documentation.

pub mod beyond;
pub mod cookbook;
pub mod faults;
pub mod guide;
pub mod own_manager;
pub mod verification;
pub mod when_which;

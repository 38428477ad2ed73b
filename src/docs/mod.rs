//! Pages that are only documentation.

pub mod cookbook;
pub mod guide;

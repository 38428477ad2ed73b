//! Pages that are only documentation.

pub mod guide;

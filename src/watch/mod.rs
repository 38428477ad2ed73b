//! How a connection's end is noticed: reactors, what they register, and a look at an idle socket. Knows neither pool nor manager.

pub(crate) mod duplicate;
pub(crate) mod probe;
pub(crate) mod reactor;
pub(crate) mod source;

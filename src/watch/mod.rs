//! How a connection's end is noticed: the pool's duplicates of its descriptors ([`duplicate`]), what of them is registered with epoll
//! ([`source`]), the threads that hear of it ([`reactor`]), and a look at an idle socket ([`probe`]). Knows neither pool nor manager.

pub(crate) mod duplicate;
pub(crate) mod probe;
pub(crate) mod reactor;
pub(crate) mod source;

//! How a connection's end is noticed, and that it is the same one still: what a manager names ([`naming`]) of its streams ([`stream`]),
//! the pool's duplicates of their descriptors ([`duplicate`], [`file`]), what of them is registered with epoll ([`source`]), the threads
//! that hear of it ([`reactor`], [`reactors`], [`ears`]) and whom they tell ([`handler`]), and a look at an idle socket ([`probe`]). Knows
//! neither pool nor manager.

pub(crate) mod duplicate;
mod ears;
pub(crate) mod file;
pub(crate) mod handler;
pub(crate) mod naming;
pub(crate) mod probe;
pub(crate) mod reactor;
pub(crate) mod reactors;
pub(crate) mod source;
pub(crate) mod stream;

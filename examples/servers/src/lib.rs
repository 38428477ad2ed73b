//! What the examples in front of real servers share. Each has its own page: `cargo run -p server-examples --bin NAME -- --help`.
#![forbid(unsafe_code)]

pub mod router;

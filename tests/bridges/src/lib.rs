//! The tests are beside it.

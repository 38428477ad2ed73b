//! What a release must hold beside its behaviour: the tests of this package.
#![forbid(unsafe_code)]

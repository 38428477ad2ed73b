//! What callers see of faults, server by server, beside r2d2 with the same client.
//!
//! Each row is what the crate's own tests have recorded (`tests/clients/tests/faults`): a real server, a real fault, a pool of eight
//! connections that are all kept open, eight callers who wait for a connection for up to a second. r2d2 runs with its defaults, so it asks
//! the server at each checkout; its managers ask as `r2d2_postgres`, `r2d2_mysql` and the `redis` crate do.
//!
//! How to read it:
//! - *a caller was told*: errors in a round, on average. Those of requests that were under way when the fault struck are among them: nobody
//!   can save these, since nobody knows whether the server has done what it was asked. `no connection` is the pool's word, `Down` that it says
//!   so at once; five digits or letters are the server's code; all else is what broke under the request.
//! - *first success* and *whole*: from the end of the fault, or from the fault where it does not last, to the first answer, and to when all
//!   connections of the pool were had at once and answered. The median, and the longest in brackets.
//! - *dead lent*: uses of a connection of which the kernel of this side knew that it is dead, in all rounds. A dash: nobody can know, since the
//!   peer says nothing.
//! - *left*: connections, server-side sessions, descriptors and threads that were there after the pool was gone and not before, in all rounds.
//! - *dials/s*: while the fault lasts.
//!
//! What it says. A hang-up costs nobody anything, with either pool; what differs is what that costs: r2d2 asks at each checkout, this pool
//! hears of it. Callers of r2d2 wait out an outage, each for as long as it may; those of this pool are told `Down` once it has lasted for
//! [`fail_fast_after`](crate::Builder::fail_fast_after). A restart that kills requests under way is met by all that are under way, with
//! either. Where the peer is silently gone nobody can know: this pool's callers meet it, one each, unless
//! [`validate_after`](crate::Builder::validate_after) has it ask after a rest.
//!
//! After a short outage r2d2 is often the faster one to come back: its workers dial each 400 to 500 ms, for each connection by itself, whatever came of the
//! others. This pool probes with one dial, after pauses of 50 ms to 1 s that callers shorten to 250 ms at most.
//!
//! On one machine of two cores, on which other programs ran: the times are an order of magnitude. Made anew by
//!
//! ```text
//! .ci/long faults
//! cargo run -p client-tests --example faults_page target/faults
//! ```
//!
//! <!-- The table is written by tests/clients/examples/faults_page.rs -->
//! <!-- Its end -->
#![forbid(unsafe_code)]

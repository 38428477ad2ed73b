//! What callers see of faults, server by server, beside r2d2 with the same client.
//!
//! Each row is what the crate's own tests have recorded (`tests/clients/tests/faults`): a real server, a real fault, a pool of eight
//! connections that are all kept open, eight callers who wait for a connection for up to a second. r2d2 runs with its defaults, so it asks
//! the server at each checkout; its managers ask as `r2d2_postgres`, `r2d2_mysql` and the `redis` crate do.
//!
//! How to read it:
//! - *a caller was told*: errors in a round, on average. Those of requests that were under way when the fault struck are among them: nobody
//!   can save these, since nobody knows whether the server has done what it was asked. `no connection` is the pool's word, `Down` that it
//!   says so at once; five digits or letters are the server's code; all else is what broke under the request.
//! - *first success* and *whole*: from the end of the fault, or from the fault where it does not last, to the first answer, and to when all
//!   connections of the pool were had at once and answered. The median, and the longest in brackets.
//! - *dead lent*: uses of a connection of which the kernel of this side knew that it is dead, in all rounds. A dash: nobody can know, since
//!   the peer says nothing.
//! - *left*: connections, server-side sessions, descriptors and threads that were there after the pool was gone and not before, in all
//!   rounds.
//! - *dials/s*: while the fault lasts.
//!
//! What it says. The end of an idle connection costs nobody anything, with either pool; what differs is what that costs: r2d2 asks at each
//! checkout, this pool hears of it. Callers of r2d2 wait out an outage, each for as long as it may; those of this pool are told `Down` once
//! it has lasted for [`fail_fast_after`](crate::Builder::fail_fast_after). A restart that kills requests under way is met by all that are
//! under way, with either. Where the peer is silently gone nobody can know: this pool's callers meet it, one each, unless
//! [`validate_after`](crate::Builder::validate_after) has it ask after a rest.
//!
//! Who comes back sooner depends on how long it took. r2d2's workers dial each 400 to 500 ms for each connection, whatever came of the
//! others. This pool probes with one dial, after pauses of 50 ms to 1 s that callers shorten to 250 ms at most. So after an outage of 3 s
//! it is the faster one, with a third of the dials; after one of 0.3 s, in which r2d2's first retry falls, it is not.
//!
//! Callers try again after a millisecond, which is why `Down` is said so often: one who is told so can do something else meanwhile.
//!
//! On one machine of two cores, on which other programs ran: the times are an order of magnitude. The restarts of Redis, PostgreSQL and
//! MariaDB are of twenty-one rounds, the new password of PostgreSQL of twenty-one, and the rest of one or two. Made anew by
//!
//! ```text
//! .ci/long faults
//! cargo run -p client-tests --example faults_page target/faults
//! ```
//!
//! <!-- The table is written by tests/clients/examples/faults_page.rs -->
//! | fault | server | pool | a caller was told | first success | whole | dead lent | left | dials/s |
//! |---|---|---|---|---|---|---|---|---|
//! | restart, 3.8 s | MariaDB | corepool | 16468 no connection: Down, 3.0 no connection: TimedOut, 0.2 BrokenPipe | 96 ms (254) | 126 ms (307) | 0 | 0 | 4.6 |
//! | restart, 3.8 s | MariaDB | r2d2 | 24 no connection: TimedOut, 0.4 BrokenPipe | 405 ms (498) | 443 ms (508) | 0 | 0 | 14.8 |
//! | restart, 4.1 s | PostgreSQL | corepool | 13931 no connection: Down, 4.8 Closed, 4.8 no connection: TimedOut, 1.2 57P01, 0.2 Io | 51 ms (229) | 103 ms (284) | 0 | 0 | 4.4 |
//! | restart, 4.1 s | PostgreSQL | r2d2 | 24 no connection: TimedOut, 1.3 57P01, 0.2 Closed | 203 ms (269) | 239 ms (287) | 0 | 0 | 13.5 |
//! | restart, 4 s | Redis | corepool | 14235 no connection: Down, 8.0 Io, 1.8 no connection: TimedOut | 152 ms (240) | 164 ms (249) | 0 | 0 | 4 |
//! | restart, 3.9 s | Redis | corepool, stock client | 14373 no connection: Down, 7.9 Io, 0.6 no connection: TimedOut | 172 ms (215) | 174 ms (233) | 0 | 0 | 4.1 |
//! | restart, 3.9 s | Redis | r2d2 | 24 no connection: TimedOut, 1.0 Io | 346 ms (380) | 358 ms (380) | 0 | 0 | 14.4 |
//! | restart, 3.2 s | Redis, TLS 1.2 | corepool | 14805 no connection: Down, 8.0 ConnectionReset | 180 ms (180) | 229 ms (229) | 0 | 0 | 5.7 |
//! | restart, 3.2 s | Redis, TLS 1.2 | r2d2 | 24 no connection: TimedOut, 2.0 ConnectionReset | 341 ms (341) | 351 ms (351) | 0 | 0 | 17.8 |
//! | restart, 3.2 s | Redis, TLS 1.3 | corepool | 14661 no connection: Down, 8.0 ConnectionReset | 163 ms (163) | 204 ms (204) | 0 | 0 | 4.9 |
//! | restart, 3.1 s | Redis, TLS 1.3 | r2d2 | 24 no connection: TimedOut | 393 ms (393) | 399 ms (399) | 0 | 0 | 18.1 |
//! | restart, 3.3 s | memcached | corepool | 15139 no connection: Down, 2.0 ConnectionReset | 235 ms (235) | 235 ms (235) | 0 | 0 | 5.1 |
//! | restart, 3.6 s | memcached | r2d2 | 24 no connection: TimedOut, 1.0 ConnectionReset | 357 ms (357) | 366 ms (366) | 0 | 0 | 15.4 |
//! | restart, 3.1 s | nginx | corepool | 14485 no connection: Down, 10 ConnectionReset | 146 ms (146) | 146 ms (146) | 0 | 0 | 7.8 |
//! | restart, 3.1 s | nginx | r2d2 | 24 no connection: TimedOut, 6.0 BrokenPipe | 379 ms (379) | 379 ms (379) | 0 | 0 | 21.3 |
//! | restart, 3.1 s | pgbouncer | corepool | 14567 no connection: Down, 7.0 Io, 4.0 no connection: TimedOut, 1.0 Closed | 144 ms (144) | 145 ms (145) | 0 | 0 | 5.8 |
//! | restart, 3.1 s | pgbouncer | r2d2 | 24 no connection: TimedOut | 391 ms (391) | 431 ms (431) | 0 | 0 | 18 |
//! | the password is another, 3.8 s | PostgreSQL | corepool | 17855 no connection: Down, 5.2 Closed, 0.7 57P01 | 30 ms (63) | 83 ms (120) | 0 | 0 | 2.6 |
//! | the password is another, 3.8 s | PostgreSQL | r2d2 | 24 no connection: TimedOut, 0.7 57P01, 0.4 Closed, 0.0 Io | 50 ms (138) | 145 ms (564) | 0 | 0 | 12.8 |
//! | the password is another, 3.1 s | Redis | corepool | 19936 no connection: Down | 1 ms (1) | 7 ms (7) | 0 | 0 | 2.9 |
//! | the password is another, 3.1 s | Redis | r2d2 | 24 no connection: TimedOut | 412 ms (412) | 417 ms (417) | 0 | 0 | 18.1 |
//! | failover to a standby, 3.8 s | PostgreSQL | corepool | 14910 no connection: Down, 8.0 no connection: TimedOut, 0.5 57P01, 0.5 Io | 75 ms (75) | 161 ms (161) | 0 | 0 | 5.3 |
//! | failover to a standby, 3.8 s | PostgreSQL | r2d2 | 24 no connection: TimedOut, 1.0 Closed, 0.5 Io | 370 ms (370) | 444 ms (444) | 0 | 0 | 14.9 |
//! | failover to another port, 4.3 s | Redis | corepool | 12964 no connection: Down, 8.0 Io, 2.5 no connection: TimedOut | 4 ms (4) | 31 ms (31) | 0 | 0 | 5.2 |
//! | failover to another port, 3.7 s | Redis | r2d2 | 24 no connection: TimedOut | 416 ms (416) | 426 ms (426) | 0 | 0 | 17.8 |
//! | killed while idle | MariaDB | corepool | nothing | 26 ms (26) | 30 ms (30) | 0 | 0 | – |
//! | killed while idle | MariaDB | r2d2 | nothing | 9 ms (9) | 47 ms (47) | 0 | 0 | – |
//! | killed while idle | PostgreSQL | corepool | nothing | 3 ms (3) | 39 ms (39) | 0 | 0 | – |
//! | killed while idle | PostgreSQL | r2d2 | nothing | 39 ms (39) | 80 ms (80) | 0 | 0 | – |
//! | killed while idle | Redis | corepool | nothing | 0 ms (0) | 0 ms (0) | 0 | 0 | – |
//! | killed while idle | Redis | corepool, stock client | nothing | 2 ms (2) | 2 ms (2) | 0 | 0 | – |
//! | killed while idle | Redis | r2d2 | nothing | 3 ms (3) | 8 ms (8) | 0 | 0 | – |
//! | killed while idle | Redis, TLS 1.2 | corepool | nothing | 2 ms (2) | 2 ms (2) | 0 | 0 | – |
//! | killed while idle | Redis, TLS 1.2 | r2d2 | nothing | 6 ms (6) | 19 ms (19) | 0 | 0 | – |
//! | killed while idle | Redis, TLS 1.3 | corepool | nothing | 6 ms (6) | 22 ms (22) | 0 | 0 | – |
//! | killed while idle | Redis, TLS 1.3 | r2d2 | nothing | 18 ms (18) | 50 ms (50) | 0 | 0 | – |
//! | killed in use | MariaDB | corepool | nothing | 0 ms (0) | 61 ms (61) | 0 | 0 | – |
//! | killed in use | MariaDB | r2d2 | nothing | 0 ms (0) | 14 ms (14) | 0 | 0 | – |
//! | killed in use | PostgreSQL | corepool | 3.0 57P01, 2.0 Closed | 13 ms (13) | 55 ms (55) | 0 | 0 | – |
//! | killed in use | PostgreSQL | r2d2 | 1.0 57P01 | 7 ms (7) | 34 ms (34) | 0 | 0 | – |
//! | killed in use | Redis | corepool | nothing | 1 ms (1) | 29 ms (29) | 0 | 0 | – |
//! | killed in use | Redis | corepool, stock client | 3.0 Io | 1 ms (1) | 3 ms (3) | 0 | 0 | – |
//! | killed in use | Redis | r2d2 | nothing | 1 ms (1) | 20 ms (20) | 0 | 0 | – |
//! | account locked, 3.1 s | MariaDB | corepool | 13031 no connection: Down | 0 ms (0) | 11 ms (11) | 0 | 0 | 4.8 |
//! | account locked, 3.1 s | MariaDB | r2d2 | 24 no connection: TimedOut | 421 ms (421) | 425 ms (425) | 0 | 0 | 18.2 |
//! | the server's idle timeout | MariaDB | corepool | nothing | 0 ms (0) | 13 ms (13) | 0 | 0 | – |
//! | the server's idle timeout | MariaDB | r2d2 | nothing | 33 ms (33) | 34 ms (34) | 0 | 0 | – |
//! | the server's idle timeout | PostgreSQL | corepool | nothing | 1 ms (1) | 4 ms (4) | 0 | 0 | – |
//! | the server's idle timeout | PostgreSQL | r2d2 | nothing | 26 ms (26) | 93 ms (93) | 0 | 0 | – |
//! | the server's idle timeout | Redis | corepool | nothing | 2 ms (2) | 6 ms (6) | 0 | 0 | – |
//! | the server's idle timeout | Redis | corepool, stock client | nothing | 16 ms (16) | 36 ms (36) | 0 | 0 | – |
//! | the server's idle timeout | Redis | r2d2 | nothing | 1 ms (1) | 14 ms (14) | 0 | 0 | – |
//! | the server's idle timeout | memcached | corepool | nothing | 5 ms (5) | 5 ms (5) | 0 | 0 | – |
//! | the server's idle timeout | memcached | r2d2 | nothing | 1 ms (1) | 72 ms (72) | 0 | 0 | – |
//! | the server's idle timeout | nginx | corepool | nothing | 9 ms (9) | 9 ms (9) | 0 | 0 | – |
//! | the server's idle timeout | nginx | r2d2 | nothing | 1 ms (1) | 5 ms (5) | 0 | 0 | – |
//! | the server's idle timeout | pgbouncer | corepool | nothing | 6 ms (6) | 6 ms (6) | 0 | 0 | – |
//! | the server's idle timeout | pgbouncer | r2d2 | nothing | 14 ms (14) | 17 ms (17) | 0 | 0 | – |
//! | too many clients, 3.1 s | PostgreSQL | corepool | 15027 no connection: Down, 6.0 Closed, 2.0 no connection: TimedOut | 278 ms (278) | 323 ms (323) | 0 | 0 | 5.4 |
//! | too many clients, 3.1 s | PostgreSQL | r2d2 | 24 no connection: TimedOut, 1.0 57P01, 1.0 Closed | 450 ms (450) | 516 ms (516) | 0 | 0 | 17.9 |
//! | too many clients, 3.1 s | Redis | corepool | 14532 no connection: Down | 174 ms (174) | 175 ms (175) | 0 | 0 | 4.8 |
//! | too many clients, 3.1 s | Redis | corepool, stock client | 14935 no connection: Down, 7.0 no connection: TimedOut | 221 ms (221) | 222 ms (222) | 0 | 0 | 5.9 |
//! | too many clients, 3.1 s | Redis | r2d2 | 24 no connection: TimedOut, 2.0 Io | 403 ms (403) | 409 ms (409) | 0 | 0 | 18.3 |
//! | a primary that takes no writes, 3.2 s | PostgreSQL | corepool | 15077 no connection: Down, 8.0 no connection: TimedOut | 203 ms (203) | 278 ms (278) | 0 | 0 | 5.7 |
//! | a primary that takes no writes, 3.1 s | PostgreSQL | r2d2 | 24 no connection: TimedOut | 0 ms (0) | 486 ms (486) | 0 | 0 | 16.2 |
//! | a black hole beside it | Redis | corepool | 4517 at the black hole | p99 alone, us: 5320; p99 beside it, us: 4979 | – | – | 0 | – |
//! | 1,000 cut at once | Redis | corepool | 55 Io | 1 ms (1) | 549 ms (549) | 0 | 0 | – |
//! | 1,000 cut at once | Redis | r2d2 | 1.0 Io | 5 ms (5) | 792 ms (792) | 0 | 0 | – |
//! | peers gone without a word | Redis by a proxy | corepool | 8.0 TimedOut | 320 ms (320) | 331 ms (331) | – | 0 | – |
//! | peers gone without a word | Redis by a proxy | corepool, validate_after | nothing | 338 ms (338) | 349 ms (349) | – | 0 | – |
//! | peers gone without a word | Redis by a proxy | r2d2 | nothing | 314 ms (314) | 332 ms (332) | – | 0 | – |
//! | peers gone without a word | Redis, packets dropped | corepool | 8.0 TimedOut | 312 ms (312) | 342 ms (342) | – | 0 | – |
//! | peers gone without a word | Redis, packets dropped | corepool, validate_after | nothing | 304 ms (304) | 339 ms (339) | – | 0 | – |
//! | peers gone without a word | Redis, packets dropped | r2d2 | nothing | 312 ms (312) | 329 ms (329) | – | 0 | – |
//! | frozen for 2 s, 2.1 s | Redis | corepool | 2460 no connection: Down, 8.0 TimedOut, 8.0 no connection: TimedOut | 5 ms (5) | 6 ms (6) | – | 0 | 4.3 |
//! | frozen for 2 s, 2.1 s | Redis | corepool, stock client | 8.0 TimedOut, 8.0 no connection: TimedOut | 10 ms (10) | 15 ms (15) | – | 0 | 1.9 |
//! | frozen for 2 s, 2.1 s | Redis | r2d2 | 15 no connection: TimedOut, 1.0 TimedOut | 3 ms (3) | 4 ms (4) | – | 0 | 1.4 |
//! | cut and refused, each 50 ms | Redis | corepool | 97 Io | 79 ms (79) | 114 ms (114) | 0 | 0 | – |
//! | cut and refused, each 50 ms | Redis | corepool, stock client | 105 Io, 5.0 no connection: TimedOut | 87 ms (87) | 121 ms (121) | 0 | 0 | – |
//! | cut and refused, each 50 ms | Redis | r2d2 | 58 Io | 203 ms (203) | 254 ms (254) | 0 | 0 | – |
//! | its server is down, 3.1 s | HAProxy | corepool | 14937 no connection: Down, 2.0 Io, 1.0 no connection: TimedOut | 202 ms (202) | 204 ms (204) | – | 0 | 4.9 |
//! | its server is down, 3.1 s | HAProxy | corepool, stock client | 14658 no connection: Down, 6.0 Io, 2.0 no connection: TimedOut | 181 ms (181) | 195 ms (195) | – | 0 | 5.9 |
//! | its server is down, 3.1 s | HAProxy | r2d2 | 24 no connection: TimedOut, 1.0 Io | 401 ms (401) | 402 ms (402) | – | 0 | 18.3 |
//! | 50 requests a connection | nginx | corepool | nothing | 0 ms (0) | 13 ms (13) | 0 | 0 | – |
//! | 50 requests a connection | nginx | r2d2 | nothing | 1 ms (1) | 52 ms (52) | 0 | 0 | – |
//! | reload | nginx | corepool | nothing | 0 ms (0) | 1 ms (1) | 0 | 0 | – |
//! | reload | nginx | r2d2 | nothing | 0 ms (0) | 0 ms (0) | 0 | 0 | – |
//! | its name moves, 3 s | Redis | corepool | 15577 no connection: Down, 8.0 Io, 5.0 no connection: TimedOut | 258 ms (258) | 287 ms (287) | 0 | 0 | 4.9 |
//! | its name moves, 3 s | Redis | r2d2 | 24 no connection: TimedOut | 415 ms (415) | 429 ms (429) | 0 | 0 | 18.5 |
//! <!-- Its end -->
#![forbid(unsafe_code)]

//! Coming from r2d2.
//!
//! The same kind of pool: threads block, a manager opens connections, a guard gives one back when it is dropped. What changes:
//!
//! - **No test at each checkout.** r2d2 runs `is_valid`, a round trip, before it lends a connection. Here the watch removes a
//!   connection when its peer hangs up, and a look at its socket, without a round trip, finds what has arrived unasked.
//!   [`Manager::on_checkout`] is there for those who want the test all the same.
//! - **An error in the use counts.** r2d2 asks `has_broken` alone. Here the closure of [`Pool::with`] says how it went, and by default a
//!   failed use discards the connection. A manager that can tell that nothing is half done keeps it ([`Manager::on_error`]).
//! - **No scheduled thread pool.** Dials, pings and closes run on background threads that all pools of a process share.
//! - **Every error has a kind and a cause**: [`GetError`] instead of one text.
//!
//! **Moving over takes two lines**, by the feature `r2d2`: whatever is an `r2d2::ManageConnection` is a manager, with its customizer and
//! its error handler.
//!
//! ```text
//! -let pool = r2d2::Pool::builder().max_size(8).build(manager)?;
//! +let pool = corepool::Pool::builder(corepool::clients::R2d2Manager::new(manager)).max_size(8).build()?;
//!
//! -fn handle(pool: &r2d2::Pool<ConnectionManager<PgConnection>>) {
//! +fn handle(pool: &corepool::Pool<R2d2Manager<ConnectionManager<PgConnection>>>) {
//! ```
//!
//! A lease dereferences to the connection, as r2d2's guard does. Then say how its socket is found, so that it is watched
//! (`R2d2Manager::find_socket`), or have a connection that has rested asked ([`Builder::validate_after`]); and which errors cost nothing
//! (`R2d2Manager::harmless_errors`).
//!
//! [The guide](super) says how to read the table.
//!
//! # r2d2
//!
//! | r2d2 | here | test |
//! |---|---|---|
//! | `ManageConnection::connect` | [`Manager::connect`], which is told its deadline and has to keep to it | `hanging_dials::a_dial_is_told_what_is_left` |
//! | `ManageConnection::is_valid`, `test_on_check_out` | [`Manager::ping`], by [`Builder::validate_after`] for a connection that has rested; [`Manager::on_checkout`] runs before each checkout, within the caller's deadline | `validation::one_whose_ping_fails_is_closed_and_the_next_one_is_lent` |
//! | `ManageConnection::has_broken` | [`Manager::on_return`], which is told how the use ended, and [`Manager::on_error`], which is told the error | `verdicts::a_duplicate_key_costs_no_connection` |
//! | `Pool::builder`, `build` | [`Pool::builder`], [`Builder::build`]: it waits for [`Builder::min_open`] connections, for 5 s, and fails with the last dial's error | `opening::in_vain_it_says_why` |
//! | `build_unchecked` | [`Opening::Background`] or [`Opening::Lazy`] | `opening::in_the_background_the_pool_is_there_before_its_connections` |
//! | `max_size` | [`Builder::max_size`]; the default is 10 there, and twice the shards, at least 8, here | `settings::the_defaults_are_those_of_the_documentation` |
//! | `min_idle` | [`Builder::min_idle`]; not set, it is `max_size` there and 0 here, beside [`Builder::min_open`] of 1 | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `connection_timeout` | [`Builder::wait_timeout`]; 30 s there, 1 s here. It covers the hooks as well | `seeds_others::defect_14_validation_is_outside_the_wait_budget` |
//! | `max_lifetime` | [`Builder::max_lifetime`], with jitter, also of a connection in use: it is closed when it comes back | `seeds_others::defect_13_an_expired_connection_is_handed_out_again` |
//! | `idle_timeout` | [`Builder::idle_timeout`]; never below `min_idle` idle ones | `keeping::idle_timeout_leaves_min_idle_idle_and_min_open_open` |
//! | `reaper_rate` | not needed: a sweep runs when something is due, and not at all while nothing is | `rest::with_nothing_left_to_age_nothing_wakes` |
//! | `thread_pool` | not needed: one set of threads serves all pools of the process | `pool_map::many_pools_share_few_threads` |
//! | `connection_customizer`: `on_acquire`, `on_release` | the end of [`Manager::connect`], and [`Manager::close`] | `close::the_last_handle_closes_all` |
//! | `error_handler` | [`Builder::observer`]: [`Event::DialFailed`], [`Event::Discarded`] | `observer::an_outage` |
//! | `event_handler`: `AcquireEvent`, `ReleaseEvent` | [`Event::Opened`], [`Event::Closed`] | `observer::a_connection_from_its_dial_to_its_end` |
//! | `event_handler`: `CheckoutEvent`, `CheckinEvent`, `TimeoutEvent` | [`Event::Waited`] and [`Event::Abandoned`]; a checkout that finds an idle connection has no event | `observer::waits_well_ended_and_not` |
//! | `get`, `get_timeout`, `try_get` | [`Pool::get`], [`Pool::get_timeout`], [`Pool::try_get`]. A [`Lease`] borrows the pool; [`Pool::get_owned`] and its kin do not | `lease::an_owned_lease_is_had_within_a_limit_or_at_once` |
//! | `add` | not needed: connections are opened by the manager alone | – |
//! | `state` | [`Pool::stats`] | `stats::states_and_counters_say_what_happened` |
//! | `max_size()`, `min_idle()` and the other accessors | [`Pool::settings`] | `settings::the_settings_in_force_are_those_that_were_set` |
//! | `PooledConnection::extensions` | fields of a connection type of your own | `returns::a_use_that_ends_well_keeps_the_connection` |
//! | dropping the pool | [`Pool::drain`] waits for leases and closes, and reports | `ending::drain_waits_for_leases_and_closes` |
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, Event, GetError, Lease, Manager, Opening, Pool};

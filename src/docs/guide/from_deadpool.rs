//! Coming from deadpool or bb8.
//!
//! Both are for async code, and so is most of what is built on them. In async code stay with them: a [`Lease`] must not be held across an
//! await, and [`Pool::get`] blocks its thread. What follows is for servers whose workers block, or for the blocking half of one that
//! does both.
//!
//! The differences to know first:
//! - deadpool dials on the task that asks. Here a dial runs in the background, and whoever waits takes what comes first: what is given
//!   back, or what is opened.
//! - Without timeouts of its own a deadpool waits for ever. Here every wait, dial, ping and close has a bound.
//! - deadpool lends the oldest idle connection first unless told otherwise. Here the one given back last is lent first, so that those that
//!   are not needed grow old and close.
//!
//! [The guide](super) says how to read the tables.
//!
//! # deadpool
//!
//! | deadpool | here | test |
//! |---|---|---|
//! | `Manager::create` | [`Manager::connect`] | `opening::who_waits_has_min_open_of_them` |
//! | `Manager::recycle` | [`Manager::on_return`] when it comes back, [`Manager::on_checkout`] before it is lent | `hooks::discard_closes_it_and_the_next_is_tried` |
//! | `Manager::detach`, `Object::take` | [`Lease::detach`] | `returns::a_detached_one_leaves_for_good_and_goes_on_working` |
//! | `PoolConfig::max_size`, `resize` | [`Builder::max_size`], [`Pool::reconfigure`] up to [`Builder::capacity`] | `reconfigure::max_size_up_serves_who_waits` |
//! | `Timeouts::wait` | [`Builder::wait_timeout`]; none there, 1 s here | `timeout::a_timeout_says_how_long_and_what_there_was` |
//! | `Timeouts::create` | [`Builder::dial_timeout`], 3 s | `hanging_dials::at_its_deadline_it_has_failed_and_says_so` |
//! | `Timeouts::recycle` | the caller's own deadline covers [`Manager::on_checkout`] | `hooks_in_time::a_check_at_checkout_that_overruns_is_cut` |
//! | `QueueMode` | not a setting: the one given back last is lent first | `returns::the_one_returned_last_comes_out_first` |
//! | `post_create`, `pre_recycle`, `post_recycle` | the end of `connect`; [`Manager::on_checkout`] | `hooks::keep_hands_it_over_on_the_callers_thread` |
//! | `get`, `timeout_get` | [`Pool::get`], [`Pool::get_timeout`]; [`Pool::get_owned`] for a lease that does not borrow | `lease::an_owned_one_outlives_the_handle` |
//! | `retain` | [`Pool::retire_where`]; [`Pool::retire`] for all of them | `retire_where::those_that_lie_idle_leave_before_it_returns_and_the_others_stay` |
//! | `Object::metrics` | [`Pool::stats`], of the pool and not of each connection | `stats::states_and_counters_say_what_happened` |
//! | `status` | [`Pool::stats`]: `max_size` is in [`Pool::settings`], `size` is `open`, `available` is `idle` | `stats::states_and_counters_say_what_happened` |
//! | `close`, `is_closed` | [`Pool::close`], [`Pool::is_closed`], [`Pool::drain`] | `close::those_who_wait_are_woken_and_told` |
//! | `WeakPool` | no meaning: nothing in the pool refers back to a handle of it | – |
//! | `PoolError::Timeout`, `Closed`, `Backend` | [`GetErrorKind`], with the last dial's error as the source of every caller's | `seeds_others::defect_15_only_one_waiter_learns_the_cause` |
//! | `unmanaged::Pool` | a [`Manager`] whose `connect` takes the next one from a list of yours | `returns::a_use_that_ends_well_keeps_the_connection` |
//! | `SyncWrapper::interact` | not needed: the worker thread may block | – |
//!
//! # bb8
//!
//! | bb8 | here | test |
//! |---|---|---|
//! | `ManageConnection::connect` | [`Manager::connect`] | `opening::who_waits_has_min_open_of_them` |
//! | `ManageConnection::is_valid`, `test_on_check_out` | [`Manager::ping`], by [`Builder::validate_after`] for a connection that has rested; [`Manager::on_checkout`] for each checkout | `validation::one_whose_ping_fails_is_closed_and_the_next_one_is_lent` |
//! | `ManageConnection::has_broken` | [`Manager::on_return`], [`Manager::on_error`] | `verdicts::a_duplicate_key_costs_no_connection` |
//! | `max_size`, `min_idle` | [`Builder::max_size`], [`Builder::min_idle`] | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `max_lifetime`, `idle_timeout`, `reaper_rate` | [`Builder::max_lifetime`], [`Builder::idle_timeout`]; no rate: a sweep runs when something is due | `life::idle_timeout_is_counted_from_the_last_use` |
//! | `connection_timeout` | [`Builder::wait_timeout`] | `timeout::a_timeout_says_how_long_and_what_there_was` |
//! | `retry_connection` | always so, at a pace that the pool sets for all its dials together | `outage::no_number_of_callers_makes_it_a_hammer` |
//! | `queue_strategy` | not a setting: the one given back last is lent first | `returns::the_one_returned_last_comes_out_first` |
//! | `connection_customizer` | the end of `connect` | `login::it_has_run_when_the_first_user_comes` |
//! | `error_sink` | [`Builder::observer`] | `observer::an_outage` |
//! | `build`, `build_unchecked` | [`Opening::Wait`]; [`Opening::Background`], [`Opening::Lazy`] | `opening::in_vain_it_says_why` |
//! | `get`, `get_owned` | [`Pool::get`], [`Pool::get_owned`] | `lease::an_owned_one_is_like_another` |
//! | `dedicated_connection` | not needed: the manager is yours to call, or take a connection out by [`Lease::detach`] | `returns::a_detached_one_leaves_for_good_and_goes_on_working` |
//! | `add` | not needed: connections are opened by the manager alone | – |
//! | `state`, its statistics | [`Pool::stats`]: `get_direct` is `leases` less `waited`; closes by reason are [`Stats::closed`] | `stats::states_and_counters_say_what_happened` |
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, GetErrorKind, Lease, Manager, Opening, Pool, Stats};

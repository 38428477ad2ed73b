//! Coming from NimblePool, `connection` or db_connection.
//!
//! [The guide](super) says how to read the tables.
//!
//! # NimblePool
//!
//! | NimblePool | here | test |
//! |---|---|---|
//! | `start_link/1`, `child_spec/1` | [`Pool::builder`], [`Builder::build`]; a wrong setting is a [`BuildError`] that names it. There is nothing to supervise: a pool is a value, and a panic in the user's code ends none of its threads | `settings::each_names_itself_and_its_limit` |
//! | `:worker` | the [`Manager`] | `returns::the_manager_is_told_how_it_went_and_decides` |
//! | `:pool_size` | [`Builder::max_size`] | `reconfigure::max_size_up_serves_who_waits` |
//! | `:lazy` | [`Opening::Lazy`]; eager is [`Opening::Wait`] or [`Opening::Background`], up to [`Builder::min_open`] | `opening::a_lazy_one_dials_nothing_until_somebody_asks` |
//! | `:worker_idle_timeout` | two settings, since it means two things: [`Builder::ping_interval`] asks, [`Builder::idle_timeout`] closes | `expiry::those_that_lie_idle_leave_but_for_min_open` |
//! | `:max_idle_pings` | not a setting: four pings at a time, and those that have gone without for longest come first | `ping::every_idle_connection_has_its_turn_a_few_at_a_time` |
//! | `:name` | no registry: hold the [`Pool`], or look it up by key in a [`PoolMap`] | `pool_map::each_is_made_once_however_many_ask` |
//! | `init_pool/1` | the manager's own constructor; `build` checks the settings | `settings::nothing_is_dialed_for_it` |
//! | `init_worker/1`, `{:ok, ...}` | [`Manager::connect`] | `opening::who_waits_has_min_open_of_them` |
//! | `init_worker/1`, `{:async, ...}` | always so: `connect` runs on a background thread, and its result is moved | `opening::in_the_background_the_pool_is_there_before_its_connections` |
//! | `init_worker/1` that fails or raises | an error, and the next attempt after a pause | `seeds_nimble_pool::defect_07_failing_connect_is_retried_without_a_pause` |
//! | `handle_enqueue/2` | [`Manager::on_wait`], asked only about callers who would wait; and [`Builder::max_waiters`] | `hooks::a_waiter_is_admitted_or_refused_at_the_door` |
//! | `handle_checkout/4`, `{:ok, ...}` | [`Manager::on_checkout`]: `Ok(`[`Verdict::Keep`]`)` | `hooks::keep_hands_it_over_on_the_callers_thread` |
//! | `handle_checkout/4`, `{:remove, ...}` | `Ok(`[`Verdict::Discard`]`)`: the next one is tried, then one is dialed, in the caller's old place | `hooks::the_order_of_arrival_survives_discards` |
//! | `handle_checkout/4`, `{:skip, ...}` | `Err`: [`GetErrorKind::Refused`], with the error as its source | `hooks::refuse_tells_the_caller_and_the_connection_stays` |
//! | client state and worker state | one value: [`Manager::Connection`] | `returns::a_use_that_ends_well_keeps_the_connection` |
//! | `checkout!/4` | [`Pool::with`], [`Pool::get`]: a [`GetError`], not an exit | `timeout::a_timeout_says_how_long_and_what_there_was` |
//! | `checkout!/4`, its timeout | [`Builder::wait_timeout`], [`Pool::get_timeout`]; it covers the hooks as well | `hooks_in_time::no_hook_starts_after_the_deadline_of_who_waited` |
//! | `checkout!/4`, timeout 0 | [`Pool::try_get`], which takes what is idle | `seeds_nimble_pool::defect_06_a_timeout_of_zero_never_succeeds_on_an_idle_pool` |
//! | `handle_checkin/4` | [`Manager::on_return`], which is told the [`Outcome`]; [`Lease::discard`], [`Lease::condemn`] for the user | `returns::the_manager_is_told_how_it_went_and_decides` |
//! | `update/2`, `handle_update/3` | no meaning: the lease is `&mut` | – |
//! | `handle_info/2`, a closed socket | [`Manager::watch`]: a hang-up always discards | `watch::an_idle_one_leaves_the_pool` |
//! | `handle_info/2`, data | [`Manager::on_idle_data`], at a checkout after [`Builder::probe_after`] | `desync::a_manager_that_expects_it_keeps_the_connection_and_the_bytes` |
//! | `handle_info/2` and checked-out workers | leased connections are watched too: [`Lease::stale`] | `watch::a_leased_one_turns_stale_and_does_not_come_back` |
//! | `handle_ping/2`, `{:ok, ...}` and `{:remove, ...}` | [`Manager::ping`]: `Ok` and `Err` | `ping::one_that_fails_costs_that_connection_alone` |
//! | `handle_ping/2`, `{:stop, ...}` | a pool that nobody uses is closed by its map: [`PoolMap::with_idle_limit`] | `pool_map::one_that_nobody_uses_is_closed_and_made_anew` |
//! | `handle_cancelled/2`, `:queued` | [`Event::Abandoned`] | `observer::waits_well_ended_and_not` |
//! | `handle_cancelled/2`, `:checked_out` | [`Event::Discarded`] with [`CloseReason::Panicked`] | `panics::in_the_closure` |
//! | `terminate_worker/3` | [`Manager::close`], with the [`CloseReason`], in the background, within [`Builder::close_timeout`] | `close::a_slow_one_delays_no_checkout` |
//! | `terminate_pool/2` | the manager's `Drop` | `close::the_last_handle_closes_all` |
//! | `stop/3` | [`Pool::close`]; [`Pool::drain`] waits and reports | `ending::drain_names_the_threads_that_hold_on` |
//!
//! # `connection`
//!
//! | `connection` | here | test |
//! |---|---|---|
//! | `init/1`, `{:connect, info, state}` | [`Opening::Wait`]: the connection is available | `opening::it_dials_under_backoff_until_they_are_there` |
//! | `init/1`, `{:ok, state}` and a connect later | [`Opening::Background`]: the connection manager is available | `opening::in_the_background_it_goes_on_for_as_long_as_it_takes` |
//! | `init/1`, `{:backoff, timeout, state}` | no delayed first dial: [`Opening::Lazy`] leaves it to the first caller | `opening::a_lazy_one_dials_nothing_until_somebody_asks` |
//! | `init/1`, `:ignore` and `{:stop, reason}` | [`BuildError`] | `opening::in_vain_it_says_why` |
//! | `connect/2`, `{:ok, state}` | [`Manager::connect`] | `opening::who_waits_has_min_open_of_them` |
//! | `connect/2`, `{:backoff, timeout, state}` | `Err`: the pause is the pool's, from 50 ms to 1 s with jitter, one probe at a time, ended early by whoever waits | `outage::a_waiter_is_served_soon_after_it_is_back` |
//! | `connect/2`, `{:stop, reason, state}` | a manager cannot end its pool; once the endpoint has been down for [`Builder::fail_fast_after`], callers are told at once | `outage::newcomers_are_refused_at_the_door_and_told_the_cause` |
//! | `connect/2`, `info` | [`Dial::attempt`], [`Dial::remaining`] | `outage::attempts_are_numbered_from_the_last_success` |
//! | `disconnect/2`, `{:connect, info, state}` | what is lost of [`Builder::min_open`] is dialed at once | `watch::it_is_replaced_at_once_where_it_is_one_of_min_open` |
//! | `disconnect/2`, `{:backoff, timeout, state}` | a peer that accepts and hangs up on what somebody waits for counts as one that does not accept; on what nobody has asked for, less is kept | `outage::what_a_peer_hangs_up_on_at_once_is_kept_ever_more_rarely` |
//! | `disconnect/2`, `{:noconnect, state}` | beyond `min_open` nothing is dialed until somebody asks | `watch::an_idle_one_leaves_the_pool` |
//! | `disconnect/2`, `{:stop, reason, state}` | no meaning: a pool outlives its connections | – |
//! | `handle_call/3`, `handle_cast/2`, `call`, `cast`, `reply/2` | no process to ask: [`Pool::with`] has the connection, and its result is the reply | `returns::a_use_that_ends_well_keeps_the_connection` |
//! | `handle_info/2` | [`Manager::watch`], [`Manager::on_idle_data`] | `watch::of_several_sockets_any_is_enough` |
//! | `{:disconnect, info, state}` from a handler | [`Lease::discard`], or `Err` from the closure | `returns::the_closures_error_discards_it` |
//! | `terminate/2` | [`Manager::close`] | `close::idle_ones_are_closed_and_leased_ones_when_they_come_back` |
//! | `code_change/3` | [`Pool::replace_manager`] | `rotation::a_new_manager_opens_what_is_opened_from_now_on` |
//! | `format_status/2` | [`Pool::stats`], as a table; no `Debug` here shows the manager | `stats::nothing_prints_what_the_manager_knows` |
//!
//! # db_connection
//!
//! Its callbacks about queries, cursors and transactions are the protocol's: methods of your connection, called on the lease. A transaction
//! that a use left open is for [`Manager::on_return`] to find.
//!
//! | db_connection | here | test |
//! |---|---|---|
//! | `connect/1` | [`Manager::connect`] | `opening::who_waits_has_min_open_of_them` |
//! | `checkout/1` | [`Manager::on_checkout`] | `hooks::keep_hands_it_over_on_the_callers_thread` |
//! | `ping/1` | [`Manager::ping`] | `ping::one_that_hangs_is_cut_at_its_timeout` |
//! | `disconnect/2` | [`Manager::close`] | `observer::a_connection_from_its_dial_to_its_end` |
//! | `:pool_size` | [`Builder::max_size`], [`Builder::min_open`] | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `:pool`, `:pool_index`, `:pool_count` | one kind of pool, sharded inside ([`Builder::shards`]) and stealing from shard to shard: no caller waits while another shard has an idle connection | `steal::a_connection_idle_in_another_shard_is_found` |
//! | `:name` | no registry: hold the [`Pool`], or a [`PoolMap`] | `pool_map::each_is_made_once_however_many_ask` |
//! | `:queue` (`false`) | [`Pool::try_get`] | `try_get::at_full_size_it_asks_for_nothing` |
//! | `:queue_target`, `:queue_interval` | no CoDel: a wait ends at its caller's deadline ([`Builder::wait_timeout`]); [`Builder::max_waiters`] bounds the queue, and [`Manager::on_wait`] sheds by a rule of yours | `hooks::a_waiter_is_admitted_or_refused_at_the_door` |
//! | `:timeout`, of the wait | [`Builder::wait_timeout`], [`Pool::get_timeout`] | `reconfigure::wait_timeout_and_max_waiters` |
//! | `:timeout`, of the use | [`Builder::hold_limit`] tells; with [`Builder::cut_held`] the socket is shut down under the use | `life::cut_held_makes_a_stuck_read_return` |
//! | `:deadline` | [`Pool::get_timeout`] with what is left of it | `timeout::a_short_wait_is_short_whatever_dials_do` |
//! | `:idle_interval` | [`Builder::ping_interval`] | `ping::a_leased_connection_is_not_pinged` |
//! | `:idle_limit` | not a setting: four at a time, in turn | `ping::every_idle_connection_has_its_turn_a_few_at_a_time` |
//! | `:max_lifetime` | [`Builder::max_lifetime`], less up to a tenth, drawn at birth | `seeds_others::defect_19_lifetime_jitter_is_drawn_anew_at_each_look` |
//! | `disconnect_all/3` | [`Pool::retire`] | `rotation::retire_spread_over_a_time` |
//! | `:backoff_min`, `:backoff_max`, `:backoff_type` | not settings: 50 ms to 1 s, doubling, jittered, per pool and not per connection; a waiter cuts it to 50 ms | `outage_counts::dials_and_wakeups_are_few` |
//! | `:backoff_type` (`:stop`) | [`Manager::is_permanent`]: a pool goes on trying, ever more rarely, and tells its callers | `evidence::build_fails_at_once_with_an_error_that_is_permanent` |
//! | `:after_connect`, `:after_connect_timeout` | the end of `connect`, under [`Builder::dial_timeout`]; [`Dial::cut_at_deadline`] ends a handshake that hangs | `hanging_dials::a_handshake_that_hangs_is_cut_at_its_deadline` |
//! | `:configure` | `connect` itself, which runs anew each time and may read what it likes; [`Pool::replace_manager`] for all at once | `rotation::a_new_manager_serves_those_who_wait_for_the_old_ones_endpoint` |
//! | `:checkout_retries`, `{:disconnect_and_retry, ...}` | the pool tries the next connection by itself and never repeats a use; [`Lease::stale`] says when you may | `watch::a_leased_one_turns_stale_and_does_not_come_back` |
//! | `:connection_listeners`, telemetry | [`Builder::observer`]: [`Event::Opened`], [`Event::Discarded`], [`Event::Closed`], [`Event::Abandoned`] | `observer::a_connection_from_its_dial_to_its_end` |
//! | `:log`, `LogEntry` | [`Event::Waited`] and [`Stats::waits`] for the pool's part, [`Stats::holds`] for the uses', sampled | `stats::waits_are_of_those_who_waited_and_were_served` |
//! | `get_connection_metrics/2` | [`Pool::stats`] | `stats::states_and_counters_say_what_happened` |
//! | `:show_sensitive_data_on_connection_error` | no meaning: an error shows what the manager's error says, and no `Debug` here shows the manager | `stats::nothing_prints_what_the_manager_knows` |
//! | `:max_restarts`, `:max_seconds` | no meaning: there is no process to restart | – |
//! | ownership, the sandbox | no meaning; a test may keep one [`Pool::get_owned`] lease | `lease::an_owned_one_outlives_the_handle` |
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{
    BuildError, Builder, CloseReason, Dial, Event, GetError, GetErrorKind, Lease, Manager, Opening, Outcome, Pool,
    PoolMap, Stats, Verdict,
};

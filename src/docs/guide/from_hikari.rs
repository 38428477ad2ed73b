//! Coming from HikariCP or pgx.
//!
//! [The guide](super) says how to read the tables.
//!
//! # HikariCP
//!
//! | HikariCP | here | test |
//! |---|---|---|
//! | `dataSource`, `dataSourceClassName`, `dataSourceJNDI`, `dataSourceProperties`, `jdbcUrl`, `driverClassName` | the [`Manager`], such as [`TcpManager`] | `opening::in_vain_on_real_sockets_it_names_the_address` |
//! | `username`, `password`, `setCredentials` | the manager's own; new ones by [`Pool::replace_manager`] | `control_under_load::replace_manager` |
//! | `autoCommit`, `readOnly`, `catalog`, `schema`, `transactionIsolation` | set in `connect`, restored or discarded in [`Manager::on_return`] | `returns::the_manager_is_told_how_it_went_and_decides` |
//! | `connectionTimeout` | [`Builder::wait_timeout`]; any length, and it covers validation | `seeds_others::defect_14_validation_is_outside_the_wait_budget` |
//! | `idleTimeout` | [`Builder::idle_timeout`], from 10 ms; never early, late by a second at most | `life::idle_timeout_is_counted_from_the_last_use` |
//! | `keepaliveTime` | [`Builder::ping_interval`]; resets neither idle time nor age | `ping::a_ping_resets_no_age` |
//! | `maxLifetime` | [`Builder::max_lifetime`], from 20 ms | `expiry::a_leased_one_leaves_when_it_is_given_back` |
//! | `connectionTestQuery`, `isValid()` | seldom needed: the watch knows first; else [`Manager::ping`], by [`Builder::validate_after`] | `validation::one_whose_ping_fails_is_closed_and_the_next_one_is_lent` |
//! | `validationTimeout` | the caller's deadline for `on_checkout`, [`Builder::ping_timeout`] for `ping`, and half of what the caller has left | `hooks_in_time::a_check_at_checkout_that_overruns_is_cut` |
//! | the 500 ms bypass window | [`Builder::validate_after`]; [`Builder::probe_after`] for the look at its socket | `validation::one_that_has_not_lain_idle_for_so_long_is_asked_nothing` |
//! | `minimumIdle` | [`Builder::min_idle`] | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `maximumPoolSize` | [`Builder::max_size`] | `storm::after_a_storm_all_is_in_its_place` |
//! | `initializationFailTimeout` | [`Builder::opening`]: the default, 1 ms, is [`Opening::Once`], a longer time [`Opening::Wait`], a negative one [`Opening::Background`] | `opening::once_fails_with_the_first_dials_error_and_dials_no_more` |
//! | `connectionInitSql` | the end of `connect`: its failure is a failed dial | `hanging_dials::a_handshake_that_hangs_is_cut_at_its_deadline_and_counted_as_failed` |
//! | `isolateInternalQueries` | no meaning: the pool makes no query; `ping` is yours | – |
//! | `exceptionOverride`, `exceptionOverrideClassName` | [`Manager::on_return`] with [`Outcome::Failed`] decides what an error means for the connection | `returns::the_closures_error_discards_it` |
//! | `evictConnection` | [`Lease::discard`], [`Lease::condemn`], [`Lease::detach`] | `returns::a_condemned_one_is_closed_when_it_is_given_back` |
//! | `softEvictConnections` | [`Pool::retire`]; only some of them, [`Pool::retire_where`] | `control_under_load::retire` |
//! | `allowPoolSuspension`, `suspendPool`, `resumePool` | [`Pool::pause`], [`Pool::resume`]; always allowed, at no cost, and callers keep their deadlines | `rotation::a_pause_hands_out_nothing_and_takes_back_everything` |
//! | `leakDetectionThreshold` | [`Builder::hold_limit`], from 10 ms, at no cost per checkout; [`Event::HoldExceeded`] names the thread, [`Event::HoldEnded`] says how long it was | `life::a_long_hold_is_told_of_once_by_the_name_of_its_thread` |
//! | `metricRegistry`, `metricsTrackerFactory` | feature `metrics`, [`telemetry::install`](crate::telemetry::install); [`Pool::stats`] (its usage is [`Stats::holds`], sampled), [`Builder::observer`] | `stats::they_print_as_a_table` |
//! | `healthCheckRegistry`, `healthCheckProperties` | [`Event::OutageBegan`], [`Event::OutageEnded`], [`GetErrorKind::Down`] | `observer::an_outage` |
//! | `getIdleConnections`, `getActiveConnections`, `getTotalConnections`, `getThreadsAwaitingConnection` | [`Stats`]: `idle`, `leased`, `open`, `waiting` | `stats::states_and_counters_say_what_happened` |
//! | `registerMbeans`, the setters of `HikariConfigMXBean` | [`Pool::reconfigure`], [`Pool::settings`] | `control_under_load::reconfigure` |
//! | `poolName` | not needed: an observer and a snapshot belong to their pool already | – |
//! | `threadFactory`, `scheduledExecutor` | no meaning: one set of threads serves all pools of the process; [`Builder::reactors`] keeps one apart | `pool_map::many_pools_share_few_threads` |
//! | `close` | [`Pool::drain`], with a deadline of yours | `ending::drain_waits_for_leases_and_closes` |
//!
//! # pgx
//!
//! `pgxpool` of Go, whose settings many server authors know by heart.
//!
//! | pgx | here | test |
//! |---|---|---|
//! | `MaxConns` | [`Builder::max_size`] | `storm::after_a_storm_all_is_in_its_place` |
//! | `MinConns` | [`Builder::min_open`]: used or not | `keeping::min_open_counts_what_is_leased` |
//! | `MinIdleConns` | [`Builder::min_idle`]: beside what is used | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `MaxConnLifetime`, `MaxConnLifetimeJitter` | [`Builder::max_lifetime`], less up to a tenth, drawn at birth | `seeds_others::defect_19_lifetime_jitter_is_drawn_anew_at_each_look` |
//! | `MaxConnIdleTime` | [`Builder::idle_timeout`] | `life::idle_timeout_is_counted_from_the_last_use` |
//! | `HealthCheckPeriod` | not needed: a sweep runs when something is due; what `min_idle` lacks is found within a second | `keeping::min_idle_is_kept_beside_what_is_leased` |
//! | `ShouldPing`, by default after 1 s of idleness; `PingTimeout` | seldom needed: the watch knows first; else [`Builder::validate_after`], [`Builder::ping_timeout`] | `validation::one_whose_ping_fails_is_closed_and_the_next_one_is_lent` |
//! | `BeforeConnect` | the beginning of [`Manager::connect`] | `rotation::a_new_manager_opens_what_is_opened_from_now_on` |
//! | `AfterConnect` | its end: a failure is a failed dial | `login::its_error_is_in_the_chain_of_the_callers` |
//! | `PrepareConn`, `BeforeAcquire` | [`Manager::on_checkout`]: `Keep`, `Discard`, or `Refuse` this caller | `first_use::refuse_closes_the_connection_and_tells_this_caller_alone` |
//! | `AfterRelease` | [`Manager::on_return`] | `returns::the_manager_is_told_how_it_went_and_decides` |
//! | `BeforeClose` | [`Manager::close`] | `close::a_slow_one_delays_no_checkout` |
//! | `Acquire`, its context | [`Pool::get`], [`Pool::get_timeout`] with what is left of your deadline | `timeout::a_short_wait_is_short_whatever_dials_do` |
//! | `AcquireFunc` | [`Pool::with`] | `returns::a_use_that_ends_well_keeps_the_connection` |
//! | `AcquireAllIdle` | not needed: [`Builder::ping_interval`] asks each idle one in its turn | `ping::every_idle_connection_has_its_turn_a_few_at_a_time` |
//! | `Ping` | [`Pool::wait_ready`], or a use of your own | `opening::in_vain_it_says_why` |
//! | `Reset` | [`Pool::retire`] | `rotation::retire_now` |
//! | `Hijack` | [`Lease::detach`] | `returns::a_detached_one_leaves_for_good_and_goes_on_working` |
//! | `Close` | [`Pool::drain`], with a bound | `ending::drain_waits_for_leases_and_closes` |
//! | `Stat`: `AcquiredConns`, `IdleConns`, `TotalConns`, `ConstructingConns` | [`Stats`]: `leased`, `idle`, `open`, `opening` | `stats::states_and_counters_say_what_happened` |
//! | `Stat`: `AcquireCount`, `EmptyAcquireCount`, `CanceledAcquireCount` | [`Stats`]: `leases`, `waited`, `timed_out` | `stats::states_and_counters_say_what_happened` |
//! | `Stat`: `EmptyAcquireWaitTime` | [`Stats::waits`], by percentile, with their [`sum`](crate::WaitTimes::sum) | `stats::waits_are_of_those_who_waited_and_were_served` |
//! | `Stat`: `NewConnsCount`, `MaxLifetimeDestroyCount`, `MaxIdleDestroyCount` | [`Stats`]: `opened`, and [`Stats::closed`] by reason | `observer::a_connection_from_its_dial_to_its_end` |
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, Event, GetErrorKind, Lease, Manager, Opening, Outcome, Pool, Stats, TcpManager};

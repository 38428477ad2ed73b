//! The guide for those who come from elsewhere keeps its word: every lever of theirs has a row, and every test that a row names exists.

use std::fs;
use std::path::Path;

const CHAPTERS: [&str; 4] = [
    include_str!("../src/docs/guide/from_r2d2.rs"),
    include_str!("../src/docs/guide/from_deadpool.rs"),
    include_str!("../src/docs/guide/from_hikari.rs"),
    include_str!("../src/docs/guide/from_nimble_pool.rs"),
];

/// What is in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of all tables: theirs, ours, the test.
fn rows() -> Vec<[&'static str; 3]> {
    let lines = CHAPTERS.iter().flat_map(|chapter| chapter.lines());
    let table = lines.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let cells = |row: &'static str| -> [&'static str; 3] {
        let cells: Vec<_> = row.split(" | ").collect();
        cells.try_into().unwrap_or_else(|cells| panic!("not three cells: {cells:?}"))
    };
    table.map(cells).filter(|[_, ours, _]| *ours != "here").collect()
}

#[test]
fn every_test_that_it_names_exists() {
    let mut named = 0;
    for [theirs, _, test] in rows() {
        if test == "–" {
            continue;
        }
        let name = quoted(test).next().unwrap_or_else(|| panic!("{theirs}: {test:?} is no test"));
        let (file, name) = name.split_once("::").unwrap_or_else(|| panic!("{theirs}: {name} is no test"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file).with_extension("rs");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{theirs}: {}: {error}", path.display()));
        // With whatever other attributes between the two.
        let mut after_test = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
        let exists = after_test.any(|(_, rest)| rest.split('(').next() == Some(name));
        assert!(exists, "{theirs}: there is no test {name} in tests/{file}.rs");
        named += 1;
    }
    assert!(named > 150, "only {named} rows name a test");
}

#[test]
fn what_has_no_test_says_why_it_has_no_meaning() {
    for [theirs, ours, test] in rows() {
        let no_meaning = ours.starts_with("no meaning") || ours.starts_with("not needed");
        assert!(test != "–" || no_meaning, "{theirs}: {ours}: and no test of it?");
    }
}

#[test]
fn every_lever_of_theirs_has_a_row() {
    let levers: [(&str, &str); 8] = [
        (
            "NimblePool",
            "start_link/1 child_spec/1 checkout!/4 update/2 stop/3 :worker :pool_size :lazy :worker_idle_timeout \
             :max_idle_pings :name init_pool/1 init_worker/1 handle_checkout/4 handle_checkin/4 handle_update/3 \
             handle_enqueue/2 handle_info/2 handle_ping/2 handle_cancelled/2 terminate_worker/3 terminate_pool/2",
        ),
        (
            "`connection`",
            "init/1 connect/2 disconnect/2 handle_call/3 handle_cast/2 handle_info/2 terminate/2 code_change/3 \
             format_status/2 call cast reply/2",
        ),
        (
            "db_connection",
            "connect/1 checkout/1 ping/1 disconnect/2 :after_connect :after_connect_timeout :backoff_min :backoff_max \
             :backoff_type :checkout_retries :configure :connection_listeners :idle_interval :idle_limit :max_lifetime \
             :max_restarts :max_seconds :name :pool :pool_size :pool_index :queue :queue_target :queue_interval \
             :timeout :deadline :log :show_sensitive_data_on_connection_error disconnect_all/3 get_connection_metrics/2",
        ),
        (
            "HikariCP",
            "dataSourceClassName jdbcUrl username password autoCommit connectionTimeout idleTimeout keepaliveTime \
             maxLifetime connectionTestQuery minimumIdle maximumPoolSize metricRegistry healthCheckRegistry poolName \
             initializationFailTimeout isolateInternalQueries allowPoolSuspension readOnly registerMbeans catalog \
             connectionInitSql driverClassName transactionIsolation validationTimeout leakDetectionThreshold dataSource \
             schema threadFactory scheduledExecutor exceptionOverrideClassName softEvictConnections suspendPool \
             resumePool getIdleConnections getActiveConnections getTotalConnections getThreadsAwaitingConnection",
        ),
        (
            "pgx",
            "MaxConns MinConns MinIdleConns MaxConnLifetime MaxConnLifetimeJitter MaxConnIdleTime HealthCheckPeriod \
             ShouldPing PingTimeout BeforeConnect AfterConnect PrepareConn BeforeAcquire AfterRelease BeforeClose \
             Acquire AcquireFunc AcquireAllIdle Ping Reset Hijack Close Stat",
        ),
        (
            "r2d2",
            "ManageConnection::connect ManageConnection::is_valid ManageConnection::has_broken test_on_check_out \
             max_size min_idle thread_pool error_handler event_handler max_lifetime idle_timeout connection_timeout \
             connection_customizer reaper_rate build build_unchecked get get_timeout try_get add state",
        ),
        (
            "deadpool",
            "Manager::create Manager::recycle Manager::detach PoolConfig::max_size resize Timeouts::wait \
             Timeouts::create Timeouts::recycle QueueMode post_create pre_recycle post_recycle get timeout_get retain \
             Object::take Object::metrics status close is_closed",
        ),
        (
            "bb8",
            "ManageConnection::connect ManageConnection::is_valid ManageConnection::has_broken test_on_check_out \
             max_size min_idle max_lifetime idle_timeout connection_timeout reaper_rate retry_connection \
             queue_strategy error_sink connection_customizer build build_unchecked get get_owned \
             dedicated_connection add state",
        ),
    ];
    for (source, levers) in levers {
        let begin = format!("//! # {source}\n");
        let (_, chapter) = CHAPTERS.iter().find_map(|text| text.split_once(&begin)).expect("a chapter");
        let chapter = chapter.split("//! # ").next().unwrap_or(chapter);
        let theirs: Vec<&str> =
            chapter.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").next()).collect();
        for lever in levers.split_whitespace() {
            let has_row = theirs.iter().any(|cell| quoted(cell).any(|name| name == lever));
            assert!(has_row, "{source}: no row for {lever}");
        }
    }
}

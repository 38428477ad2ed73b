//! `telemetry::install`: the page that Prometheus's exporter makes of a pool. A process has one recorder, so there is one test.

#[path = "../../../examples/gateway/metrics.rs"]
#[allow(dead_code, reason = "nothing is served here")]
mod by_hand;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use corepool::telemetry::{install, update};
use corepool::{Event, GetError, Pool};
use metrics_exporter_prometheus::PrometheusBuilder;
use telemetry_tests::{Numbers, until};

/// Each series of a page: its name, its labels in order, and its value. Panics at a line that Prometheus would refuse.
fn series(page: &str) -> BTreeMap<(String, Vec<String>), f64> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end in {line:?}"));
            let mut labels: Vec<_> = labels.split(',').map(str::to_owned).collect();
            labels.sort();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name:?} is no name");
            ((name.to_owned(), labels), value.parse().unwrap_or_else(|_| panic!("no number in {line:?}")))
        })
        .collect()
}

#[test]
fn the_exporters_page_says_what_the_statistics_say() {
    let exporter = PrometheusBuilder::new().install_recorder().expect("the first recorder of this process");
    let heard = Arc::new(AtomicUsize::new(0));
    let also = Arc::clone(&heard);
    let builder = Pool::builder(Numbers { password: "sesame", ..Numbers::default() }).max_size(2).min_open(2).shards(1);
    let builder = builder.observer(move |_: &Event| {
        also.fetch_add(1, Relaxed);
    });
    let pool = install("orders", builder).expect("it opens");
    for _ in 0..10 {
        pool.with(|number| Ok::<_, GetError>(*number)).expect("it has a connection");
    }
    // One caller waits, so that there is a wait to be told of.
    let (first, second) = (pool.get().expect("one"), pool.get().expect("another"));
    thread::scope(|scope| {
        scope.spawn(|| drop(pool.get_timeout(Duration::from_secs(60)).expect("it is served")));
        until("waiting", || pool.stats().waiting == 1);
        drop(first);
    });

    let told = |page: &str| {
        page.contains("db_client_connection_wait_time") && page.contains("db_client_connection_create_time")
    };
    until("told of the wait and of the dials", || told(&exporter.render()));
    update();
    let page = exporter.render();
    assert!(!page.contains("sesame"), "a secret: {page}");
    let theirs = series(&page);
    let limits = (pool.settings().max_size, pool.settings().min_idle);
    let ours = by_hand::page("orders", &pool.stats(), limits);
    for ((name, labels), value) in series(&ours) {
        // What the page by hand calls by Prometheus's custom, the exporter leaves as it is.
        let name = name.strip_suffix("_total").unwrap_or(&name).to_owned();
        let key = (name, labels);
        assert_eq!(theirs.get(&key), Some(&value), "{key:?} in {page}");
    }
    drop(second);
    // Enough uses for one to be sampled.
    for _ in 0..2_048 {
        pool.with(|number| Ok::<_, GetError>(*number)).expect("it has a connection");
    }
    update();
    let page = exporter.render();
    let used = series(&page).into_iter().find(|((name, _), _)| name == "db_client_connection_use_time_count");
    assert!(used.is_some_and(|(_, count)| count >= 1.0), "no use was sampled: {page}");
    assert!(heard.load(Relaxed) > 0, "the builder's own observer is not told any more");

    // A pool that has gone is not asked any more, and one that is closed is.
    drop(pool);
    update();
}

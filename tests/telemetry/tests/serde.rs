//! Feature `serde`: settings go out and come back, statistics go out.

use std::time::Duration;

use corepool::{Pool, Settings};
use serde_json::Value;
use telemetry_tests::Numbers;

#[test]
fn settings_go_out_and_come_back() {
    let pool = Pool::builder(Numbers::default()).max_size(4).capacity(8).build().expect("it opens");
    let mut text: Value = serde_json::to_value(pool.settings()).expect("settings are data");
    text["max_size"] = Value::from(6);
    let changed: Settings = serde_json::from_value(text).expect("and come back");
    pool.reconfigure(|settings| *settings = changed.clone()).expect("within the limits");
    assert_eq!(pool.settings().max_size, 6);
    assert_eq!(pool.settings().wait_timeout, Duration::from_secs(1));
}

#[test]
fn statistics_go_out_with_reasons_by_name() {
    let pool = Pool::builder(Numbers::default()).max_size(4).build().expect("it opens");
    corepool::Lease::discard(pool.get().expect("there is one"));
    let stats: Value = serde_json::to_value(pool.stats()).expect("statistics are data");
    assert_eq!(stats["closed"]["condemned"], 1, "{stats}");
    assert_eq!(stats["leases"], 1, "{stats}");
}

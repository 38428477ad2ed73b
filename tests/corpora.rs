//! The kept corpora of the fuzz targets that use what is public, or an example: each file once.
//!
//! Those of the targets that look inside (`bag_ops`, `mux_replies`, `resp`, `peek`) are run by the tests of the library.

#[path = "twins/http1.rs"]
mod http1;
#[path = "support/kept.rs"]
mod kept;
#[allow(dead_code, reason = "nothing is asked through a pool here")]
#[path = "../examples/http1/response.rs"]
mod response;
#[path = "twins/settings.rs"]
mod settings;

use kept::kept;

#[test]
fn any_settings_are_built_or_named() {
    kept("settings", 16).iter().for_each(|bytes| settings::settings(bytes));
}

#[test]
fn an_answer_is_read_the_same_in_any_cuts() {
    kept("http1", 16).iter().for_each(|bytes| http1::http1(bytes));
}

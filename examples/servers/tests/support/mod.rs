//! Runs an example as a user would.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// None of the runs here takes more than some seconds where it has a core to itself.
const HOPELESS: Duration = Duration::from_secs(120);

/// What a run has printed, as JSON, and its exit status.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> (Value, i32) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (done, ended) = mpsc::channel::<()>();
    let id = rustix::process::Pid::from_child(&child);
    let watchdog = thread::spawn(move || {
        if ended.recv_timeout(HOPELESS) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    drop(child.stdin.take());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    let said =
        format!("{arguments:?}: {status}\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let report = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("no report: {said}"));
    println!("{said}");
    (report, status.code().unwrap_or_else(|| panic!("{said}")))
}

//! The `redis` crate's multiplexed connection: one for all callers, on a tokio runtime with a thread a core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;

use crate::round::{ROUND, figures, record, times};

pub(crate) struct Tasks {
    runtime: Runtime,
    connection: MultiplexedConnection,
}

impl Tasks {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let client = redis::Client::open(format!("redis://{address}")).expect("the address is one");
        let connection = runtime.block_on(client.get_multiplexed_async_connection()).expect("redis-server is there");
        Tasks { runtime, connection }
    }

    /// What a caller does that is a thread.
    pub(crate) fn blocking_caller(&self) -> impl FnMut() + '_ {
        let mut connection = self.connection.clone();
        move || self.runtime.block_on(ask(&mut connection))
    }

    /// As `round::round`, with tasks.
    pub(crate) fn round(&self, callers: usize) -> Vec<f64> {
        let (over, start) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(callers + 1)));
        self.runtime.block_on(async {
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let (over, start) = (Arc::clone(&over), Arc::clone(&start));
                    let mut connection = self.connection.clone();
                    tokio::spawn(async move {
                        let mut times = times();
                        ask(&mut connection).await;
                        start.wait().await;
                        // Relaxed: nothing hangs on it but the end.
                        while !over.load(Ordering::Relaxed) {
                            let begun = Instant::now();
                            ask(&mut connection).await;
                            record(&mut times, begun);
                        }
                        times
                    })
                })
                .collect();
            start.wait().await;
            let begun = Instant::now();
            tokio::time::sleep(ROUND).await;
            over.store(true, Ordering::Relaxed);
            let took = begun.elapsed();
            let mut all = times();
            for task in tasks {
                all.add(task.await.expect("no caller panics")).expect("both grow");
            }
            figures(&all, took)
        })
    }
}

async fn ask(connection: &mut MultiplexedConnection) {
    let value: String = redis::cmd("GET").arg("k").query_async(connection).await.expect("redis-server answers");
    assert_eq!(value, "v");
}

//! The ways to ask, each for a caller of its own.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corepool::mux::{Decoded, Mux, Protocol};
use corepool::{Pool, TcpManager};

use crate::redis_server::RedisServer;
use crate::round::round;
use crate::rounds::{Contender, interleave};

const REQUEST: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
const REPLY: &[u8] = b"$1\r\nv\r\n";

/// As much of RESP as these replies need: strings that are whole.
pub(crate) struct Strings;

impl Protocol for Strings {
    type Request = [u8];
    type Reply = u64;

    fn encode(&self, request: &[u8], into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.extend_from_slice(request);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<u64> {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Decoded::More(1) };
        let length = std::str::from_utf8(&bytes[1..end]).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(length) = length.filter(|_| bytes[0] == b'$') else { return Decoded::Broken("no string".into()) };
        match (end + 4 + length).checked_sub(bytes.len()) {
            None | Some(0) => Decoded::Reply(length as u64, end + 4 + length),
            Some(more) => Decoded::More(more),
        }
    }
}

pub(crate) struct Ways {
    address: SocketAddr,
    four: Pool<TcpManager>,
    eight: Pool<TcpManager>,
    mux: Mux<TcpManager, Strings>,
    #[cfg(feature = "redis")]
    resp: Mux<TcpManager, corepool::mux::resp::Resp>,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Ways {
    pub(crate) fn open(server: &RedisServer) -> Self {
        let manager = || TcpManager::new(server.address.to_string());
        let pool = |size: usize| {
            let builder = Pool::builder(manager()).max_size(size).min_open(size).wait_timeout(PATIENCE);
            builder.build().expect("redis-server is there")
        };
        let mux = Mux::builder(Pool::builder(manager()), Strings).call_timeout(PATIENCE).build();
        let ways = Ways {
            address: server.address,
            four: pool(4),
            eight: pool(8),
            mux: mux.expect("redis-server is there"),
            #[cfg(feature = "redis")]
            resp: Mux::builder(Pool::builder(manager()), corepool::mux::resp::Resp::new())
                .call_timeout(PATIENCE)
                .build()
                .expect("redis-server is there"),
        };
        let mut first = TcpStream::connect(ways.address).expect("redis-server is there");
        first.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").expect("redis-server is there");
        first.read_exact(&mut [0; 5]).expect("redis-server answers");
        ways
    }

    /// The first one is what the others are compared with.
    pub(crate) const NAMES: &[&str] = &[
        "a connection per thread",
        "pool on 4",
        "pool on 8",
        "mux",
        #[cfg(feature = "redis")]
        "mux, redis crate",
    ];

    /// What one caller does.
    pub(crate) fn caller<'a>(&'a self, name: &str) -> Box<dyn FnMut() + 'a> {
        match name {
            "a connection per thread" => {
                let mut own = TcpStream::connect(self.address).expect("redis-server is there");
                own.set_nodelay(true).expect("it is a TCP socket");
                Box::new(move || exchange(&mut own))
            }
            "pool on 4" => Box::new(|| pooled(&self.four)),
            "pool on 8" => Box::new(|| pooled(&self.eight)),
            #[cfg(feature = "redis")]
            "mux, redis crate" => Box::new(|| {
                let value: String = redis::cmd("GET").arg("k").query(&mut &self.resp).expect("redis-server answers");
                assert_eq!(value, "v");
            }),
            _ => Box::new(|| assert_eq!(self.mux.call(REQUEST).expect("redis-server answers"), 1)),
        }
    }

    /// Sends and receives of the mux for each of its replies while `during` ran, and what that has made.
    pub(crate) fn socket_calls<T>(&self, during: impl FnOnce() -> T) -> (f64, T) {
        let before = self.mux.stats().total();
        let made = during();
        let after = self.mux.stats().total();
        let calls = (after.sends + after.receives) - (before.sends + before.receives);
        (calls as f64 / (after.replies - before.replies).max(1) as f64, made)
    }

    /// How many times as many requests a lone caller gets answered by pipelines of 100.
    pub(crate) fn pipeline_gain(&self, rounds: usize) -> f64 {
        let requests = [REQUEST; 100];
        let pipeline = || {
            let replies = self.mux.pipeline(requests);
            assert!(replies.into_iter().all(|reply| reply.expect("redis-server answers") == 1));
        };
        let contenders = vec![
            Contender::with_figures("pipeline", || round(1, || pipeline)),
            Contender::with_figures("single", || round(1, || self.caller("mux"))),
        ];
        100.0 * interleave(rounds, contenders).ratio("pipeline", "single", 0)
    }
}

fn pooled(pool: &Pool<TcpManager>) {
    let asked = pool.with(|connection| -> std::io::Result<()> {
        exchange(connection);
        Ok(())
    });
    asked.expect("redis-server answers");
}

fn exchange(stream: &mut (impl Read + Write)) {
    let mut reply = [0; REPLY.len()];
    stream.write_all(REQUEST).and_then(|()| stream.read_exact(&mut reply)).expect("redis-server answers");
    assert_eq!(reply, REPLY);
}

//! What a PostgreSQL server sends to an idle client, whole or broken, against what may be lent again.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use corepool::clients::PostgresManager;
use corepool::{Lease, Pool};
use postgres::SimpleQueryMessage;
use socket2::SockRef;

use crate::arrival;

const PATIENCE: Duration = Duration::from_secs(30);
/// `READY FOR QUERY`, in no transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// The body of the fuzz target of this name: `bytes` say what the server sends to an idle client. It is lent again if that was notices,
/// notifications and parameters, and then answers its next user; after anything else whole it is not.
pub(crate) fn idle_postgres(bytes: &[u8]) {
    static PAIR: LazyLock<Mutex<Pair>> = LazyLock::new(|| Mutex::new(Pair::new()));
    PAIR.lock().unwrap_or_else(PoisonError::into_inner).run(bytes);
}

/// A pool of one client, and that client's server.
struct Pair {
    pool: Pool<PostgresManager>,
    accepted: Receiver<TcpStream>,
    server: Option<TcpStream>,
    /// So many were seen.
    dials: u64,
}

/// What the next user finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finds {
    /// The same client: all that came may come unasked.
    TheSame,
    /// The same or another: what came is not whole, or the client may think about it as it likes.
    Either,
    /// Another.
    Another,
}

impl Pair {
    fn new() -> Pair {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let config = format!("host=127.0.0.1 port={} user=anybody", listener.local_addr().unwrap().port());
        let (accepts, accepted) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // What is thrown away leaves nothing behind, or ports would run out.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                log_in(&mut stream).unwrap();
                accepts.send(stream).unwrap();
            }
        });
        let pool = Pool::builder(PostgresManager::new(config.parse().unwrap())).max_size(1).build().unwrap();
        Pair { pool, accepted, server: None, dials: 0 }
    }

    fn run(&mut self, script: &[u8]) {
        // So that nothing waits on it from before.
        self.exchange();
        let said = say(self.server.as_mut().expect("it has answered"), script);
        match said {
            Finds::TheSame => assert!(self.exchange(), "another, after {}", script.escape_ascii()),
            Finds::Another => assert!(!self.exchange(), "lent, after {}", script.escape_ascii()),
            // The rest never comes, and nobody waits for it here.
            Finds::Either => Lease::discard(self.lease().0),
        }
    }

    /// Asks, and is answered. Whether it was the same client as before.
    fn exchange(&mut self) -> bool {
        let (mut lease, same, server) = self.lease();
        let answer = thread::scope(|scope| {
            scope.spawn(|| {
                answer(server).inspect_err(|_| drop(server.shutdown(Shutdown::Both))).unwrap();
            });
            lease.simple_query("asked").unwrap()
        });
        assert!(matches!(answer[..], [SimpleQueryMessage::CommandComplete(7)]), "{answer:?}");
        same
    }

    fn lease(&mut self) -> (Lease<'_, PostgresManager>, bool, &mut TcpStream) {
        let lease = self.pool.get().unwrap();
        let dials = self.pool.stats().dials;
        let same = dials == self.dials;
        // The pool may dial once more by itself, for one that was discarded.
        while self.dials < dials {
            self.server = Some(self.accepted.recv_timeout(PATIENCE).expect("a dial"));
            self.dials += 1;
        }
        (lease, same, self.server.as_mut().expect("dialed once"))
    }
}

/// Anybody may come in.
fn log_in(stream: &mut TcpStream) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let rest = u64::from(u32::from_be_bytes(length)) - 4;
    io::copy(&mut stream.take(rest), &mut io::sink())?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut asked = [0; 11];
    stream.read_exact(&mut asked)?;
    assert_eq!(&asked, b"Q\0\0\0\x0aasked\0");
    stream.write_all(&message(b'C', b"COPY 7\0"))?;
    stream.write_all(READY)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short one");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// Does as the script says.
fn say(stream: &mut TcpStream, script: &[u8]) -> Finds {
    let (mut rest, mut finds, mut sent, mut hung_up) = (script, Finds::TheSame, Vec::new(), false);
    while let [verb, count, tail @ ..] = rest {
        let count = usize::from(*count);
        let (text, tail) = tail.split_at(if matches!(verb % 8, 0..=3 | 6) { count.min(tail.len()) } else { 0 });
        rest = tail;
        // A text that is one: it ends with the first zero.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let words = String::from_utf8_lossy(text);
        let (bytes, found) = match verb % 8 {
            0 => (message(b'A', format!("\0\0\0\x07channel\0{words}\0").as_bytes()), Finds::TheSame),
            1 => (message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{words}\0\0").as_bytes()), Finds::TheSame),
            2 => (message(b'S', format!("search_path\0{words}\0").as_bytes()), Finds::TheSame),
            3 => (message(b'E', format!("SFATAL\0VFATAL\0C57P01\0M{words}\0\0").as_bytes()), Finds::Another),
            // What only an answer has.
            4 => (message(b"123CDGHIKRTVWZcdnst"[count % 19], &[0; 8]), Finds::Either),
            // A part of one.
            5 => {
                let mut whole = message(b'A', b"\0\0\0\x07channel\0words\0");
                whole.truncate(count % whole.len());
                let found = if whole.is_empty() { Finds::TheSame } else { Finds::Either };
                (whole, found)
            }
            6 => (text.to_vec(), if text.is_empty() { Finds::TheSame } else { Finds::Either }),
            _ => {
                hung_up = true;
                (Vec::new(), Finds::Another)
            }
        };
        sent.extend_from_slice(&bytes);
        // Nothing can mend what is broken; what is not whole may become anything.
        if finds == Finds::TheSame {
            finds = found;
        }
        if hung_up || finds == Finds::Another {
            break;
        }
    }
    // What nobody expects to begin with is never due.
    if sent.first().is_some_and(|first| !b"ANSZ\x17".contains(first)) || hung_up {
        finds = Finds::Another;
    }
    stream.write_all(&sent).unwrap();
    if hung_up {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    arrival::of(stream, sent.len(), hung_up);
    finds
}

//! What a TLS peer sends to an idle stream, whole or broken, against what may be lent again.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use corepool::clients::{TlsConn, TlsManager};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, SupportedProtocolVersion};

use crate::identity::Identity;
use crate::idle::{Finds, Pair, wait_for_arrival};

/// A session puts up with so many new keys in a row, and some more.
const KEYS: usize = 30;
/// The kind of a record that sessions may ignore: that of changing ciphers, from times before TLS 1.3.
const IGNORED: u8 = 0x14;

/// The body of the fuzz target of this name: `bytes` say what the peer sends to an idle stream. It is lent again if that was new keys,
/// and then answers its next user; what cannot be a session's own is never lent.
pub(crate) fn idle_tls(bytes: &[u8]) {
    static PAIRS: LazyLock<[Mutex<Pair<TlsManager, Peer>>; 2]> = LazyLock::new(|| {
        let identity = Identity::new();
        [&TLS12, &TLS13].map(|version| Mutex::new(pair(&identity, version)))
    });
    let [version, script @ ..] = bytes else { return };
    let mut pair = PAIRS[usize::from(version % 2)].lock().unwrap_or_else(PoisonError::into_inner);
    pair.run(script, Peer::say, exchange);
}

struct Peer {
    session: ServerConnection,
    stream: TcpStream,
}

fn pair(identity: &Identity, version: &'static SupportedProtocolVersion) -> Pair<TlsManager, Peer> {
    let config = identity.server();
    let welcome = move |mut stream| {
        let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
        while session.is_handshaking() || session.wants_write() {
            session.complete_io(&mut stream).unwrap();
        }
        Peer { session, stream }
    };
    Pair::new(|port| identity.manager(port, version), welcome)
}

fn exchange(conn: &mut TlsConn, peer: &mut Peer) {
    conn.write_all(b"asked").unwrap();
    peer.answer().unwrap();
    let mut answer = [0; 8];
    conn.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answered");
}

impl Peer {
    /// Does as the script says.
    fn say(&mut self, script: &[u8]) -> Finds {
        let (mut rest, mut finds, mut sent, mut keys, mut hung_up) = (script, Finds::TheSame, Vec::new(), 0, false);
        while let [verb, count, tail @ ..] = rest {
            rest = tail;
            let (count, begun) = (usize::from(*count), sent.len());
            let found = match verb % 8 {
                0 => self.keys(&mut sent),
                1 => self.text(count, &mut sent),
                2 => {
                    self.session.send_close_notify();
                    self.write(&mut sent);
                    Finds::Another
                }
                // Records of no session: of any kind, version and length.
                3 => {
                    let (bytes, tail) = rest.split_at(count.min(rest.len()));
                    rest = tail;
                    sent.extend_from_slice(bytes);
                    forged(bytes)
                }
                // A bit of a record is turned.
                4 => {
                    let (_, at) = (self.record(count, &mut sent), count / 16);
                    match sent[begun..].get_mut(at) {
                        None => Finds::Either,
                        Some(byte) => {
                            *byte ^= 1 << (count / 2 % 8);
                            // Its kind and version are no part of what is signed.
                            if at < 3 { Finds::Either } else { forged(&sent[begun..]) }
                        }
                    }
                }
                // A part of one. What follows does not fit any more, even if it is no part at all.
                5 => {
                    self.record(count, &mut sent);
                    sent.truncate(begun + (sent.len() - begun).min(count / 2));
                    Finds::Either
                }
                6 => {
                    hung_up = true;
                    Finds::Another
                }
                _ => Finds::TheSame,
            };
            keys += 1;
            // Nothing can mend what is broken; what is not whole may become anything.
            if finds == Finds::TheSame {
                finds = if keys > KEYS { Finds::Either } else { found };
            }
            if hung_up || finds == Finds::Another {
                break;
            }
        }
        self.stream.write_all(&sent).unwrap();
        if hung_up {
            self.stream.shutdown(Shutdown::Write).unwrap();
            finds = Finds::Another;
        }
        wait_for_arrival(&self.stream, sent.len(), hung_up);
        finds
    }

    /// New keys, in TLS 1.3.
    fn keys(&mut self, sent: &mut Vec<u8>) -> Finds {
        // There is nothing of the kind in TLS 1.2.
        let _ = self.session.refresh_traffic_keys();
        self.write(sent);
        Finds::TheSame
    }

    /// Plain text that nobody has asked for.
    fn text(&mut self, length: usize, sent: &mut Vec<u8>) -> Finds {
        self.session.writer().write_all(&vec![b'x'; length]).unwrap();
        self.write(sent);
        if length == 0 { Finds::TheSame } else { Finds::Another }
    }

    fn record(&mut self, which: usize, sent: &mut Vec<u8>) -> Finds {
        if which.is_multiple_of(2) { self.keys(sent) } else { self.text(1, sent) }
    }

    fn write(&mut self, sent: &mut Vec<u8>) {
        while self.session.wants_write() {
            self.session.write_tls(sent).unwrap();
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut asked = [0; 5];
        let mut at = 0;
        while at < asked.len() {
            match self.session.reader().read(&mut asked[at..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => at += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.session.complete_io(&mut self.stream)?;
                }
                Err(error) => return Err(error),
            }
        }
        assert_eq!(&asked, b"asked");
        self.session.writer().write_all(b"answered")?;
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

/// What begins with a record that no session has made.
fn forged(bytes: &[u8]) -> Finds {
    match bytes {
        [] => Finds::TheSame,
        [IGNORED, ..] => Finds::Either,
        [_, _, _, high, low, body @ ..] if body.len() >= usize::from(u16::from_be_bytes([*high, *low])) => {
            Finds::Another
        }
        _ => Finds::Either,
    }
}

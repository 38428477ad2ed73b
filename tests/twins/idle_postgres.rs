//! What a PostgreSQL server sends to an idle client, whole or broken, against what may be lent again.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use corepool::clients::{PostgresConnection, PostgresManager};
use postgres::SimpleQueryMessage;

use crate::idle::{Finds, Pair, wait_for_arrival};

/// `READY FOR QUERY`, in no transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// The body of the fuzz target of this name: `bytes` say what the server sends to an idle client. It is lent again if that was notices,
/// notifications and parameters, and then answers its next user; after anything else whole it is not.
pub(crate) fn idle_postgres(bytes: &[u8]) {
    static PAIR: LazyLock<Mutex<Pair<PostgresManager, TcpStream>>> = LazyLock::new(|| {
        let manager = |port| PostgresManager::new(format!("host=127.0.0.1 port={port} user=anybody").parse().unwrap());
        Mutex::new(Pair::new(manager, |stream| log_in(stream).unwrap()))
    });
    PAIR.lock().unwrap_or_else(PoisonError::into_inner).run(bytes, say, exchange);
}

fn exchange(client: &mut PostgresConnection, server: &mut TcpStream) {
    let answer = thread::scope(|scope| {
        scope.spawn(|| answer(server).inspect_err(|_| drop(server.shutdown(Shutdown::Both))).unwrap());
        client.simple_query("asked").unwrap()
    });
    assert!(matches!(answer[..], [SimpleQueryMessage::CommandComplete(7)]), "{answer:?}");
}

/// Anybody may come in.
fn log_in(mut stream: TcpStream) -> io::Result<TcpStream> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let rest = u64::from(u32::from_be_bytes(length)) - 4;
    io::copy(&mut (&stream).take(rest), &mut io::sink())?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)?;
    Ok(stream)
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
    wait_for_arrival(stream, sent.len(), hung_up);
    finds
}

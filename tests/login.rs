//! A login runs before its connection is lent, under the dial's deadline, and its error is the dial's.

mod support;

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corepool::{Conn, Dial, GetErrorKind, Opening, Pool, TcpManager, UnixManager};
use support::{Counting, HOPELESS, Server, chain, comes_to_rest, error_with_a_cause, eventually, exchange};

const MS: Duration = Duration::from_millis(1);

#[test]
fn it_has_run_when_the_first_user_comes() {
    let server = Server::echo();
    let logins = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&logins);
    let manager = TcpManager::new(server.address()).with_login(move |conn, dial| {
        assert!(dial.attempt() == 1 && !dial.remaining().is_zero());
        counts.fetch_add(1, Ordering::SeqCst);
        exchange(conn, b"it is me")
    });
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    for _ in 0..3 {
        pool.with(|conn| exchange(conn, b"hello")).unwrap();
    }
    assert_eq!((logins.load(Ordering::SeqCst), pool.stats().opened), (1, 1));
    comes_to_rest(&pool);
}

#[test]
fn over_a_unix_socket_too() {
    let path = std::env::temp_dir().join(format!("corepool-login-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let manager = UnixManager::new(&path).with_login(|conn, _| conn.write_all(b"it is me"));
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    let lease = pool.get().unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut said = [0; 8];
    listener.accept().unwrap().0.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"it is me");
    drop(lease);
}

/// What a login wrote last is owed no reply, and its timeouts are its own.
#[test]
fn it_may_end_with_a_write_and_under_a_timeout() {
    let server = Server::mute();
    let manager = TcpManager::new(server.address()).read_timeout(Some(HOPELESS)).with_login(|conn, _| {
        conn.set_read_timeout(Some(MS))?;
        conn.write_all(b"it is me")
    });
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    for _ in 0..3 {
        let lease = pool.get().unwrap();
        let timeout = socket2::SockRef::from(&**lease).read_timeout().unwrap();
        assert_eq!((lease.id(), timeout), (0, Some(HOPELESS)));
    }
    census.verify();
}

#[test]
fn its_error_is_in_the_chain_of_the_callers() {
    #[derive(Debug)]
    struct WrongPassword;
    impl std::fmt::Display for WrongPassword {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the password is wrong")
        }
    }
    impl Error for WrongPassword {}

    let server = Server::echo();
    let address = server.address();
    let manager = TcpManager::new(&*address).with_login(|_, _| Err(WrongPassword));
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    let error = error_with_a_cause(&pool, 100 * MS);
    assert!(chain(&error).ends_with(&format!(": could not log in to {address}: the password is wrong")), "{error:?}");
    let mut cause: &dyn Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    assert!(cause.is::<WrongPassword>());
}

#[test]
fn a_connection_that_it_leaves_dirty_fails_the_dial() {
    let server = Server::mute();
    let manager = TcpManager::new(server.address()).with_login(|conn, _| -> io::Result<()> {
        conn.set_read_timeout(Some(MS))?;
        // A swallowed timeout.
        let _ = conn.read(&mut [0; 1]);
        Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    let error = error_with_a_cause(&pool, 100 * MS);
    assert!(chain(&error).ends_with("the login has left the connection dirty"), "{error:?}");
}

#[test]
fn one_that_hangs_ends_at_the_deadline_of_its_dial() {
    let server = Server::mute();
    let ended = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&ended);
    let hangs = move |conn: &mut Conn, _: &Dial<'_>| {
        let heard = conn.read_exact(&mut [0; 1]);
        counts.fetch_add(1, Ordering::SeqCst);
        heard
    };
    let manager = TcpManager::new(server.address()).with_login(hangs);
    let pool = Pool::builder(manager).max_size(1).dial_timeout(20 * MS).opening(Opening::Lazy).build().unwrap();
    assert_eq!(pool.get_timeout(Duration::ZERO).map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    eventually("its read returns", || ended.load(Ordering::SeqCst) > 0);
}

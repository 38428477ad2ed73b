//! Whose verdict keeps a connection: the user's, by `fail`, `condemn` and the closure's result; the manager's, by what error it was. And
//! the forms in which a closure's error leaves a function, each of which must compile as it stands here.

mod support;

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::num::ParseIntError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{
    CloseReason, GetError, GetErrorKind, Lease, Manager, Opening, Outcome, Pool, TcpManager, UseError, Verdict,
};
use support::{
    Counting, Fake, HOPELESS, Hooked, ON_PURPOSE, Server, Thing, comes_to_rest, eventually, exchange, panics,
};

const MS: Duration = Duration::from_millis(1);

type Outcomes = Arc<Mutex<Vec<Outcome>>>;

/// A pool of one, whose manager writes down how each use ended and judges by default.
fn writing() -> (Pool<Hooked<Fake>>, Outcomes) {
    let outcomes = Outcomes::default();
    let writes = Arc::clone(&outcomes);
    let manager = Hooked::new(Fake::default()).on_return(move |_, how| {
        writes.lock().unwrap().push(how);
        if how == Outcome::Done { Verdict::Keep } else { Verdict::Discard }
    });
    let pool = Pool::builder(manager).max_size(1).wait_timeout(HOPELESS).build().unwrap();
    (pool, outcomes)
}

// ---- the user's -------------------------------------------------------------------------------------------------------------

#[test]
fn a_lease_that_is_said_to_have_failed_is_closed() {
    let (pool, outcomes) = writing();
    let mut lease = pool.get().unwrap();
    Lease::fail(&mut lease);
    lease.0 += 100;
    drop(lease);
    assert_eq!(*outcomes.lock().unwrap(), [Outcome::Failed]);
    assert_eq!(pool.stats().closed(CloseReason::Failed), 1);
    assert_eq!(pool.get().unwrap().0, 2);
    comes_to_rest(&pool);
}

/// Asks, and gives up before the answer is there: what `get()` and a `?` look like.
fn ask_in_vain(pool: &Pool<TcpManager>, says_so: bool) -> io::Result<()> {
    let mut lease = pool.get()?;
    exchange(&mut *lease, b"1")?;
    lease.write_all(b"question 2")?;
    let gives_up = "x".parse::<u32>().map_err(io::Error::other);
    if says_so && gives_up.is_err() {
        Lease::fail(&mut lease);
    }
    gives_up?;
    lease.read_exact(&mut [0; 10])
}

#[test]
fn the_next_user_never_reads_the_answer_of_one_that_said_it_has_failed() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(1).wait_timeout(HOPELESS).build().unwrap();
    for _ in 0..50 {
        ask_in_vain(&pool, true).unwrap_err();
        pool.with(|conn| exchange(conn, b"another")).unwrap();
    }
    assert_eq!(pool.stats().closed(CloseReason::Failed), 50);
    comes_to_rest(&pool);
}

#[test]
fn a_closure_that_needs_its_lease_has_it() {
    let (pool, outcomes) = writing();
    let id = |pool: &Pool<Hooked<Fake>>| pool.with(|thing| Ok::<_, GetError>(thing.0)).unwrap();
    // It ends well, and the connection stays.
    let stale = pool.with_lease(|lease| Ok::<_, GetError>(Lease::stale(lease))).unwrap();
    assert_eq!((stale, id(&pool)), (false, 1));
    // It has failed, though the closure has a result.
    let result = pool.with_lease(|lease| {
        Lease::fail(lease);
        Ok::<_, GetError>(lease.0)
    });
    assert_eq!((result.unwrap(), id(&pool)), (1, 2));
    // It is to be closed, and the manager is not asked.
    let asked = outcomes.lock().unwrap().len();
    pool.with_lease(|lease| {
        Lease::condemn(lease);
        Ok::<_, GetError>(())
    })
    .unwrap();
    assert_eq!(outcomes.lock().unwrap().len(), asked);
    assert_eq!(id(&pool), 3);
    // Nor after an error.
    let error = pool.with_lease(|lease| {
        Lease::condemn(lease);
        Err::<(), _>(io::Error::other("condemned"))
    });
    assert_eq!((error.unwrap_err().to_string().as_str(), id(&pool)), ("condemned", 4));
    // It returns an error.
    let error = pool.with_lease(|_| Err::<(), _>(io::Error::other("broken")));
    assert!(matches!(error, Err(UseError::Use(error)) if error.to_string() == "broken"));
    assert_eq!(id(&pool), 5);
    // It panics.
    panics(|| pool.with_lease(|_| -> Result<(), GetError> { panic!("{ON_PURPOSE}") }));
    assert_eq!(id(&pool), 6);
    let closed = |why| pool.stats().closed(why);
    assert_eq!([CloseReason::Failed, CloseReason::Condemned, CloseReason::Panicked].map(closed), [2, 2, 1]);
    comes_to_rest(&pool);
}

#[test]
fn whoever_gets_no_lease_is_told_so_and_the_closure_does_not_run() {
    let (pool, _) = writing();
    pool.close();
    let error = pool.with_lease(|_| -> Result<(), io::Error> { panic!("it has none") }).unwrap_err();
    assert!(matches!(error, UseError::Get(error) if error.kind() == GetErrorKind::Closed));
}

// ---- in the course of a panic -----------------------------------------------------------------------------------------------

/// Runs `f` when it goes, and keeps what panics in there inside.
struct Last<F: FnMut()>(F);

impl<F: FnMut()> Drop for Last<F> {
    fn drop(&mut self) {
        assert!(thread::panicking());
        let caught = catch_unwind(AssertUnwindSafe(&mut self.0));
        assert!(caught.is_err_and(|payload| support::is_on_purpose(&*payload)));
    }
}

#[test]
fn a_use_that_panics_inside_a_drop_during_another_panic_has_panicked() {
    let (pool, outcomes) = writing();
    let uses: [fn(&Pool<Hooked<Fake>>); 4] = [
        |pool| {
            let _lease = pool.get().unwrap();
            panic!("{ON_PURPOSE}: inside")
        },
        |pool| {
            let _lease = pool.get_owned().unwrap();
            panic!("{ON_PURPOSE}: inside")
        },
        |pool| {
            let _ = pool.with(|_| -> Result<(), GetError> { panic!("{ON_PURPOSE}: inside") });
        },
        |pool| {
            let _ = pool.with_lease(|_| -> Result<(), GetError> { panic!("{ON_PURPOSE}: inside") });
        },
    ];
    for (number, a_use) in uses.into_iter().enumerate() {
        panics(|| {
            let _last = Last(|| a_use(&pool));
            panic!("{ON_PURPOSE}: outside");
        });
        assert_eq!(*outcomes.lock().unwrap(), vec![Outcome::Panicked; number + 1]);
    }
    assert_eq!(pool.stats().closed(CloseReason::Panicked), 4);
    comes_to_rest(&pool);
}

#[test]
fn one_that_ends_well_in_there_has_ended_well_where_that_can_be_told() {
    let (pool, outcomes) = writing();
    panics(|| {
        let _last = Last(|| {
            pool.with(|_| Ok::<_, GetError>(())).unwrap();
            pool.with_lease(|_| Ok::<_, GetError>(())).unwrap();
            panic!("{ON_PURPOSE}: inside")
        });
        panic!("{ON_PURPOSE}: outside");
    });
    assert_eq!(*outcomes.lock().unwrap(), [Outcome::Done, Outcome::Done]);
    assert_eq!(pool.stats().closed_in_all(), 0);
}

// ---- the manager's ----------------------------------------------------------------------------------------------------------

/// What a database client says.
#[derive(Debug)]
enum Sql {
    DuplicateKey,
    BrokenPipe,
}

impl fmt::Display for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sql::DuplicateKey => "duplicate key",
            Sql::BrokenPipe => "broken pipe",
        })
    }
}

impl Error for Sql {}

/// A manager that knows its client's errors.
fn knowing() -> Counting<Hooked<Fake>> {
    fn judge(_: &mut Thing, error: &dyn Any) -> Verdict {
        match error.downcast_ref::<Sql>() {
            Some(Sql::DuplicateKey) => Verdict::Keep,
            Some(Sql::BrokenPipe) => Verdict::discard("broken pipe"),
            // Somebody else's error, which may hide one of the client's.
            None => Verdict::Discard,
        }
    }
    Counting::new(Hooked::new(Fake::default()).on_error(judge)).0
}

#[test]
fn a_duplicate_key_costs_no_connection() {
    let pool = Pool::builder(knowing()).max_size(2).wait_timeout(HOPELESS).build().unwrap();
    for round in 0..228 {
        let error = match round % 2 {
            0 => pool.with(|_| Err::<(), _>(Sql::DuplicateKey)).unwrap_err(),
            _ => pool.with_lease(|_| Err::<(), _>(Sql::DuplicateKey)).unwrap_err(),
        };
        assert!(matches!(error, UseError::Use(Sql::DuplicateKey)));
    }
    let stats = pool.stats();
    assert_eq!((stats.dials, stats.closed_in_all(), stats.leases), (1, 0, 228), "\n{stats}");
    comes_to_rest(&pool);
}

#[test]
fn a_broken_pipe_does_and_so_does_an_error_that_the_manager_does_not_know() {
    let pool = Pool::builder(knowing()).max_size(1).wait_timeout(HOPELESS).build().unwrap();
    pool.with(|_| Err::<(), _>(Sql::BrokenPipe)).unwrap_err();
    pool.with(|_| Err::<(), _>(io::Error::other(Sql::DuplicateKey))).unwrap_err();
    pool.with(|_| Err::<(), Box<dyn Error>>(Sql::DuplicateKey.into())).unwrap_err();
    assert_eq!(pool.stats().closed(CloseReason::Failed), 3);
    drop(pool.get().unwrap());
    comes_to_rest(&pool);
    assert_eq!(pool.stats().dials, 4);
}

#[test]
fn by_default_on_error_is_on_return_after_a_failure() {
    let (pool, outcomes) = writing();
    pool.with(|_| Err::<(), _>(Sql::DuplicateKey)).unwrap_err();
    pool.with_lease(|_| Err::<(), _>(Sql::DuplicateKey)).unwrap_err();
    assert_eq!(*outcomes.lock().unwrap(), [Outcome::Failed, Outcome::Failed]);
    assert_eq!(pool.stats().closed(CloseReason::Failed), 2);
}

#[test]
fn a_panic_in_on_error_costs_that_connection() {
    support::hush();
    let manager = Hooked::new(Fake::default()).on_error(|_, _| panic!("{ON_PURPOSE}: a judgement"));
    let pool = Pool::builder(manager).max_size(1).wait_timeout(HOPELESS).build().unwrap();
    let error = pool.with(|_| Err::<(), _>(Sql::DuplicateKey)).unwrap_err();
    assert!(matches!(error, UseError::Use(Sql::DuplicateKey)), "its error is the caller's all the same");
    assert_eq!(pool.stats().closed(CloseReason::Panicked), 1);
    assert_eq!(pool.get().unwrap().0, 2);
}

// ---- the forms --------------------------------------------------------------------------------------------------------------

type Things = Pool<Fake>;

fn sql(fails: bool) -> Result<u64, Sql> {
    if fails { Err(Sql::BrokenPipe) } else { Ok(7) }
}

fn number(text: &str) -> Result<u64, ParseIntError> {
    text.parse()
}

fn io_result_of_an_io_error(pool: &Things, fails: bool) -> io::Result<u64> {
    let value =
        pool.with(|thing| if fails { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok::<_, io::Error>(thing.0) })?;
    Ok(value)
}

fn io_result_of_any_error(pool: &Things, fails: bool) -> io::Result<u64> {
    let value = pool.with(|_| sql(fails))?;
    Ok(value + pool.with_lease(|_| number("1"))?)
}

fn boxed(pool: &Things, fails: bool) -> Result<u64, Box<dyn Error>> {
    let value = pool.with(|_| sql(fails))?;
    Ok(value + pool.with_lease(|_| number("1"))?)
}

fn boxed_send_sync(pool: &Things, fails: bool) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let value = pool.with(|_| sql(fails))?;
    Ok(value + pool.with_lease(|_| number("1"))?)
}

/// A closure that mixes errors by boxing them itself.
fn a_closure_of_boxed(pool: &Things, fails: bool) -> Result<u64, Box<dyn Error>> {
    let value = pool
        .with(|_| {
            let value = sql(fails)?;
            Ok::<_, Box<dyn Error>>(value + number("1")?)
        })
        .map_err(UseError::flatten)?;
    Ok(value)
}

#[derive(Debug)]
enum Mine {
    NoConnection(GetError),
    Sql(Sql),
    Number(ParseIntError),
}

impl From<GetError> for Mine {
    fn from(error: GetError) -> Mine {
        Mine::NoConnection(error)
    }
}

impl From<Sql> for Mine {
    fn from(error: Sql) -> Mine {
        Mine::Sql(error)
    }
}

impl From<ParseIntError> for Mine {
    fn from(error: ParseIntError) -> Mine {
        Mine::Number(error)
    }
}

fn an_own_enum(pool: &Things, text: &str, fails: bool) -> Result<u64, Mine> {
    pool.with(|_| {
        let value = sql(fails)?;
        Ok::<_, Mine>(value + number(text)?)
    })
    .map_err(UseError::flatten)
}

#[test]
fn each_form_compiles_and_keeps_the_error() {
    let pool = Pool::builder(Fake::default()).max_size(2).wait_timeout(HOPELESS).build().unwrap();
    assert!(io_result_of_an_io_error(&pool, false).is_ok());
    assert_eq!(io_result_of_any_error(&pool, false).unwrap(), 8);
    assert_eq!(boxed(&pool, false).unwrap(), 8);
    assert_eq!(boxed_send_sync(&pool, false).unwrap(), 8);
    assert_eq!(a_closure_of_boxed(&pool, false).unwrap(), 8);
    assert_eq!(an_own_enum(&pool, "1", false).unwrap(), 8);

    // An io::Error stays itself: its kind, and no wrapper around it.
    let error = io_result_of_an_io_error(&pool, true).unwrap_err();
    assert_eq!((error.kind(), error.get_ref().is_none()), (io::ErrorKind::UnexpectedEof, true));
    // Any other is inside.
    let error = io_result_of_any_error(&pool, true).unwrap_err();
    assert!(error.get_ref().is_some_and(|inner| inner.is::<Sql>()), "{error:?}");
    for text in [boxed(&pool, true).unwrap_err().to_string(), boxed_send_sync(&pool, true).unwrap_err().to_string()] {
        assert_eq!(text, "broken pipe");
    }
    assert!(a_closure_of_boxed(&pool, true).unwrap_err().is::<Sql>());
    assert!(matches!(an_own_enum(&pool, "1", true), Err(Mine::Sql(Sql::BrokenPipe))));
    let Err(Mine::Number(error)) = an_own_enum(&pool, "x", false) else { panic!("no such error") };
    assert_eq!(error, number("x").unwrap_err());
}

#[test]
fn each_form_tells_why_there_is_no_connection() {
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let pool = Pool::builder(fake).max_size(2).opening(Opening::Lazy).fail_fast_after(MS).wait_timeout(HOPELESS);
    let pool = pool.build().unwrap();
    let error = io_result_of_an_io_error(&pool, false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(error.get_ref().is_some_and(|inner| inner.is::<GetError>()), "{error:?}");
    assert_eq!(io_result_of_any_error(&pool, false).unwrap_err().kind(), io::ErrorKind::NotConnected);
    let errors: [Box<dyn Error>; 3] = [
        boxed(&pool, false).unwrap_err(),
        boxed_send_sync(&pool, false).unwrap_err(),
        a_closure_of_boxed(&pool, false).unwrap_err(),
    ];
    for error in errors {
        // Each text once in the chain.
        let chain = support::chain(&*error);
        assert!(chain.starts_with("no connection can be opened"), "{chain}");
        assert_eq!(chain.matches("nobody is at home").count(), 1, "{chain}");
        assert_eq!(chain.matches("no connection can be opened").count(), 1, "{chain}");
    }
    let Err(Mine::NoConnection(error)) = an_own_enum(&pool, "1", false) else { panic!("no such error") };
    assert_eq!(error.kind(), GetErrorKind::Down);
}

#[test]
fn it_can_be_matched_on() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let is_duplicate = |result: Result<u64, UseError<Sql>>| match result {
        Ok(_) => false,
        Err(UseError::Get(error)) => panic!("{error}"),
        Err(UseError::Use(error)) => matches!(error, Sql::DuplicateKey),
    };
    assert!(is_duplicate(pool.with(|_| Err(Sql::DuplicateKey))));
    eventually("another one", || !is_duplicate(pool.with(|_| sql(false))));
}

/// Needs no more of its manager than that it is one.
fn generic<M: Manager>(pool: &Pool<M>) -> io::Result<()> {
    Ok(pool.with(|_| Ok::<_, io::Error>(()))?)
}

#[test]
fn it_serves_generic_code_too() {
    generic(&Pool::builder(Fake::default()).max_size(1).build().unwrap()).unwrap();
}

#[test]
fn one_that_is_condemned_is_closed_unasked_whatever_is_said_or_happens_after_it() {
    let (pool, outcomes) = writing();
    let mut lease = pool.get().unwrap();
    Lease::condemn(&mut lease);
    Lease::fail(&mut lease);
    drop(lease);
    panics(|| {
        let mut lease = pool.get().unwrap();
        Lease::condemn(&mut lease);
        panic!("{ON_PURPOSE}")
    });
    panics(|| {
        let mut lease = pool.get_owned().unwrap();
        Lease::fail(&mut lease);
        Lease::condemn(&mut lease);
        panic!("{ON_PURPOSE}")
    });
    assert!(outcomes.lock().unwrap().is_empty());
    assert_eq!((pool.stats().closed(CloseReason::Condemned), pool.stats().closed_in_all()), (3, 3));
    comes_to_rest(&pool);
}

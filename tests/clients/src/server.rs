//! A server process of a test's own, in a scratch folder, on a free port; stopped by its handle.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// How long anything that is bound to happen may take, on however busy a machine.
pub const AMPLE: Duration = Duration::from_secs(40);

/// Waits for a condition, with a deadline.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < AMPLE, "{what}: not within {AMPLE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The program of this name, on the path or in one of the folders where distributions hide theirs.
///
/// If it is not installed: `None` and a word about it, for the test to be skipped. A panic if `COREPOOL_REQUIRE_SERVERS` is 1.
pub fn find(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(env::var("COREPOOL_REQUIRE_SERVERS").as_deref() != Ok("1"), "{name} is required, but not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

static SCRATCHES: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    /// Belongs to this user, if the test runs as root. Its path is short, since a Unix socket's must be.
    pub fn new(owner: Option<&User>) -> Scratch {
        let number = SCRATCHES.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("corepool-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(owner) = owner {
            chown(&path, Some(owner.uid), Some(owner.gid)).unwrap();
        }
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whom a server runs as that refuses to run as root.
#[derive(Debug, Clone)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `None` unless the test runs as root: then the server may run as the same user.
    pub fn for_root(name: &str) -> Option<User> {
        if !geteuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        let fields: Vec<&str> = line.unwrap_or_else(|| panic!("no user {name}")).split(':').collect();
        Some(User { uid: fields[2].parse().unwrap(), gid: fields[3].parse().unwrap() })
    }
}

/// How a server is started, again and again.
#[derive(Debug)]
pub struct Start {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub user: Option<User>,
    pub folder: PathBuf,
    pub port: u16,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    start: Start,
    child: Option<Child>,
    /// What ends it when it is dropped.
    ended_by: Signal,
}

impl Server {
    /// Starts what `how` says for a free port, with another port if that was taken meanwhile.
    pub fn start(how: impl Fn(u16) -> Start) -> Server {
        let mut last = String::new();
        for _ in 0..5 {
            let mut server = Server { start: how(free_port()), child: None, ended_by: Signal::QUIT };
            match server.run() {
                Ok(()) => return server,
                Err(error) => last = format!("{error}\n{}", server.log()),
            }
        }
        panic!("the server does not start: {last}");
    }

    /// For one that SIGQUIT does not end.
    pub fn ended_by(mut self, signal: Signal) -> Server {
        self.ended_by = signal;
        self
    }

    /// Sends it a signal, and goes on.
    pub fn tell(&self, what: Signal) {
        signal(self.child.as_ref().expect("it runs").id(), what);
    }

    pub fn port(&self) -> u16 {
        self.start.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.start.port)
    }

    /// Started, and accepting connections.
    fn run(&mut self) -> io::Result<()> {
        let out = File::options().create(true).append(true).open(self.start.folder.join("log"))?;
        let mut command = command(&self.start.program, self.start.user.as_ref());
        command.args(&self.start.args).current_dir(&self.start.folder).stdout(out.try_clone()?).stderr(out);
        let child = self.child.insert(command.spawn()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.start.port));
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("{} ended with {status}", self.start.program.display())));
            }
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if begun.elapsed() > AMPLE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.start.folder.join("log")).unwrap_or_default()
    }

    /// Ends it: asks, and after four seconds kills.
    pub fn stop(&mut self, ask: Signal) {
        let Some(mut child) = self.child.take() else { return };
        signal_tree(child.id(), Signal::CONT);
        signal(child.id(), ask);
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(4) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it again as it was, once it was stopped.
    pub fn again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        // Its port may be taken for a moment by what the old one has left.
        let last = (0..20).find_map(|_| match self.run() {
            Ok(()) => Some(()),
            Err(_) => {
                self.stop(Signal::KILL);
                thread::sleep(Duration::from_millis(100));
                None
            }
        });
        assert!(last.is_some(), "the server does not come back: {}", self.log());
    }

    /// Stops or continues it with all of its children.
    pub fn freeze(&self, frozen: bool) {
        let child = self.child.as_ref().expect("it runs");
        signal_tree(child.id(), if frozen { Signal::STOP } else { Signal::CONT });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} said:\n{}", self.start.program.display(), self.log());
        }
        self.stop(self.ended_by);
    }
}

/// A command with no input, as this user.
pub fn command(program: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process as i32) {
        let _ = kill_process(pid, signal);
    }
}

fn signal_tree(root: u32, what: Signal) {
    signal(root, what);
    for child in children(root) {
        signal_tree(child, what);
    }
}

fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| parent(*number) == Some(of)).collect()
}

fn parent(of: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
    // After the name, which is in parentheses and may hold anything: the state, then the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

//! What stands between a program and its servers, or speaks a protocol of its own: nginx, HAProxy, pgbouncer, memcached. As in `servers`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::server::{Scratch, Server, Start, User, eventually, find};

/// A server that a file configures, whose text depends on its port.
fn configured(
    program: PathBuf,
    user: Option<User>,
    scratch: &Scratch,
    args: &[&str],
    text: impl Fn(u16) -> String,
) -> Server {
    let file = scratch.join("c");
    let server = Server::start(|port| {
        fs::write(&file, text(port)).unwrap();
        let args = args.iter().map(|arg| if *arg == "FILE" { file.clone() } else { (*arg).to_owned() }).collect();
        Start { program: program.clone(), args, user: user.clone(), folder: scratch.path().to_owned(), port }
    });
    server.ended_by(Signal::TERM)
}

/// An nginx that answers each request with its own path.
#[derive(Debug)]
pub struct Nginx {
    pub server: Server,
    _scratch: Scratch,
}

impl Nginx {
    /// With these lines in its `http` section.
    pub fn start(extra: &str) -> Option<Nginx> {
        let program = find("nginx")?;
        let scratch = Scratch::new(None);
        let folder = scratch.path().to_str().unwrap().to_owned();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {folder}/{name}; "))
            .collect();
        let log = format!("{folder}/e");
        let server = configured(program, None, &scratch, &["-p", &folder, "-c", "FILE", "-e", &log], |port| {
            format!(
                "daemon off; worker_processes 1; pid {folder}/pid; error_log {log}; events {{}}\n\
                 http {{ access_log off; {temporary} {extra} server {{ listen 127.0.0.1:{port}; \
                 location / {{ return 200 $uri; }} }} }}\n"
            )
        });
        Some(Nginx { server, _scratch: scratch })
    }
}

/// An HAProxy in front of a TCP server, which it asks for a sign of life each 100 ms.
#[derive(Debug)]
pub struct Haproxy {
    pub server: Server,
    socket: String,
    _scratch: Scratch,
}

impl Haproxy {
    pub fn start(upstreams: &[u16]) -> Option<Haproxy> {
        let program = find("haproxy")?;
        let scratch = Scratch::new(None);
        let socket = scratch.join("s");
        let servers: String = (1..)
            .zip(upstreams)
            .map(|(number, port)| {
                format!("  server s{number} 127.0.0.1:{port} check inter 100ms rise 1 fall 1 on-marked-down shutdown-sessions\n")
            })
            .collect();
        let server = configured(program, None, &scratch, &["-f", "FILE", "-db"], |port| {
            format!(
                "global\n  stats socket {socket} mode 600 level admin\ndefaults\n  mode tcp\n  timeout connect 1s\n  \
                 timeout client 1h\n  timeout server 1h\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
                 backend b\n{servers}"
            )
        });
        // It listens before its socket has its name.
        eventually("its socket", || UnixStream::connect(&socket).is_ok());
        Some(Haproxy { server, socket, _scratch: scratch })
    }

    /// What an operator says over its socket.
    pub fn say(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(&self.socket).unwrap();
        writeln!(socket, "{command}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A pgbouncer in transaction mode, in front of a PostgreSQL. It prepares nothing across transactions.
#[derive(Debug)]
pub struct Pgbouncer {
    pub server: Server,
    _scratch: Scratch,
}

impl Pgbouncer {
    /// Closes clients that lie idle for so many seconds; zero: none.
    pub fn start(upstream: u16, client_idle_timeout: u32) -> Option<Pgbouncer> {
        let program = find("pgbouncer")?;
        let user = User::for_root("postgres");
        let scratch = Scratch::new(user.as_ref());
        let server = configured(program, user, &scratch, &["FILE"], |port| {
            format!(
                "[databases]\npostgres = host=127.0.0.1 port={upstream} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\n\
                 listen_port={port}\nauth_type=any\npool_mode=transaction\nunix_socket_dir=\n\
                 client_idle_timeout={client_idle_timeout}\nserver_login_retry=1\n"
            )
        });
        Some(Pgbouncer { server, _scratch: scratch })
    }
}

/// A memcached.
#[derive(Debug)]
pub struct Memcached {
    pub server: Server,
    _scratch: Scratch,
}

impl Memcached {
    pub fn start(extra: &[&str]) -> Option<Memcached> {
        let program = find("memcached")?;
        let user = User::for_root("nobody");
        let scratch = Scratch::new(user.as_ref());
        let server = Server::start(|port| {
            let fixed = format!("-l 127.0.0.1 -p {port} -U 0 -t 1");
            let args = fixed.split(' ').chain(extra.iter().copied()).map(str::to_owned).collect();
            Start { program: program.clone(), args, user: user.clone(), folder: scratch.path().to_owned(), port }
        });
        Some(Memcached { server: server.ended_by(Signal::TERM), _scratch: scratch })
    }
}

//! The servers: how each is started as a test's own. `None`: not installed, and the test is to be skipped.

use std::path::PathBuf;
use std::process::Output;

use rustix::process::Signal;

use crate::server::{Scratch, Server, Start, User, command, find};

/// A Redis on TCP and on a Unix socket.
#[derive(Debug)]
pub struct Redis {
    pub server: Server,
    scratch: Scratch,
}

impl Redis {
    pub fn start(extra: &[&str]) -> Option<Redis> {
        let program = find("redis-server")?;
        let scratch = Scratch::new(None);
        let server = Server::start(|port| {
            let fixed = format!("--port {port} --bind 127.0.0.1 --appendonly no --dir {}", scratch.path().display());
            let mut args: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
            args.extend(["--save", "", "--unixsocket", &scratch.join("s")].map(str::to_owned));
            args.extend(extra.iter().copied().map(str::to_owned));
            Start { program: program.clone(), args, user: None, folder: scratch.path().to_owned(), port }
        });
        Some(Redis { server, scratch })
    }

    /// With TLS alone; certificate and key are files of these texts. `None` as well if this Redis has none built in.
    pub fn start_tls(certificate: &str, key: &str, extra: &[&str]) -> Option<Redis> {
        let program = find("redis-server")?;
        let scratch = Scratch::new(None);
        let [certificate, key] = [("c", certificate), ("k", key)].map(|(name, text)| {
            std::fs::write(scratch.path().join(name), text).unwrap();
            scratch.join(name)
        });
        let server = Server::start(|port| {
            let fixed = format!(
                "--port 0 --tls-port {port} --tls-cert-file {certificate} --tls-key-file {key} --tls-auth-clients no \
                 --bind 127.0.0.1 --appendonly no --dir {}",
                scratch.path().display()
            );
            let mut args: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
            args.extend(["--save", "", "--unixsocket", &scratch.join("s")].map(str::to_owned));
            args.extend(extra.iter().copied().map(str::to_owned));
            Start { program: program.clone(), args, user: None, folder: scratch.path().to_owned(), port }
        });
        Some(Redis { server, scratch })
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.server.address())
    }

    pub fn unix_path(&self) -> String {
        self.scratch.join("s")
    }

    /// A connection beside the pool's, for looking and for killing.
    pub fn admin(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis+unix://{}", self.unix_path())).unwrap();
        let begun = std::time::Instant::now();
        loop {
            match client.get_connection() {
                Ok(connection) => return connection,
                // It listens on TCP first, and there somewhat later.
                Err(error) if begun.elapsed() > crate::server::AMPLE => panic!("{error}"),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    /// The same, where a password is required, unless it is empty.
    pub fn admin_as(&self, password: &str) -> redis::Connection {
        let mut admin = self.admin();
        if !password.is_empty() {
            let _: () = redis::cmd("AUTH").arg(password).query(&mut admin).unwrap();
        }
        admin
    }

    /// Closes every other client's connection.
    pub fn kill_all(&self) {
        let _: i64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut self.admin()).unwrap();
    }
}

/// A PostgreSQL on TCP and on a Unix socket, that trusts everybody but the user `secret`.
#[derive(Debug)]
pub struct Postgres {
    pub server: Server,
    scratch: Scratch,
}

impl Postgres {
    pub fn start(extra: &[&str]) -> Option<Postgres> {
        let (initdb, program) = (find("initdb")?, find("postgres")?);
        let user = User::for_root("postgres");
        let scratch = Scratch::new(user.as_ref());
        let data = scratch.join("d");
        let mut init = command(&initdb, user.as_ref());
        init.args(["-D", &data, "-A", "trust", "-N", "-U", "postgres"]).current_dir(scratch.path());
        assert_well(&init.output().unwrap());
        let trust = "host all secret 127.0.0.1/32 scram-sha-256\nlocal all all trust\nhost all,replication all 127.0.0.1/32 trust\n";
        std::fs::write(format!("{data}/pg_hba.conf"), trust).unwrap();
        let postgres = Postgres::on(program, user, scratch, extra);
        // It accepts before it serves.
        drop(postgres.admin());
        Some(postgres)
    }

    /// On the data in this folder.
    fn on(program: PathBuf, user: Option<User>, scratch: Scratch, extra: &[&str]) -> Postgres {
        let (data, sockets) = (scratch.join("d"), scratch.path().display());
        let server = Server::start(|port| {
            let fixed = format!(
                "-D {data} -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={sockets} -c fsync=off \
                 -c max_connections=40 -c superuser_reserved_connections=3"
            );
            let mut args: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
            args.extend(extra.iter().copied().map(str::to_owned));
            Start { program: program.clone(), args, user: user.clone(), folder: scratch.path().to_owned(), port }
        });
        Postgres { server, scratch }
    }

    /// A standby of it, which answers and takes no writes.
    pub fn standby(&self) -> Postgres {
        let user = User::for_root("postgres");
        let scratch = Scratch::new(user.as_ref());
        let mut copy = command(&find("pg_basebackup").unwrap(), user.as_ref());
        let port = self.server.port().to_string();
        copy.args(["-D", &scratch.join("d"), "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast"]);
        assert_well(&copy.current_dir(scratch.path()).output().unwrap());
        let standby = Postgres::on(find("postgres").unwrap(), user, scratch, &["-c", "hot_standby=on"]);
        drop(standby.admin());
        standby
    }

    /// Makes a primary of a standby; returns when it takes writes.
    pub fn promote(&self) {
        self.admin().simple_query("select pg_promote(true)").unwrap();
    }

    /// On TCP.
    pub fn config(&self) -> postgres::Config {
        self.config_at("127.0.0.1", self.server.port())
    }

    /// By way of a proxy.
    pub fn config_at(&self, host: &str, port: u16) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host(host).port(port).user("postgres").dbname("postgres");
        config
    }

    /// On the Unix socket.
    pub fn unix_config(&self) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host_path(self.scratch.path()).port(self.server.port()).user("postgres").dbname("postgres");
        config
    }

    /// A connection beside the pool's.
    pub fn admin(&self) -> postgres::Client {
        let begun = std::time::Instant::now();
        loop {
            match self.config().application_name("admin").connect(postgres::NoTls) {
                Ok(client) => return client,
                Err(error) if begun.elapsed() > crate::server::AMPLE => panic!("{error}"),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
    }

    /// Ends every other session.
    pub fn kill_all(&self) {
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'";
        self.admin().simple_query(kill).unwrap();
    }

    pub fn unix_path(&self) -> String {
        self.scratch.join(&format!(".s.PGSQL.{}", self.server.port()))
    }

    /// A fast restart.
    pub fn restart(&mut self) {
        self.server.stop(Signal::INT);
        self.server.again();
        drop(self.admin());
    }
}

/// A MariaDB on TCP and on a Unix socket.
#[derive(Debug)]
pub struct MariaDb {
    pub server: Server,
    scratch: Scratch,
}

impl MariaDb {
    pub fn start(extra: &[&str]) -> Option<MariaDb> {
        let (install, program) = (find("mariadb-install-db")?, find("mariadbd")?);
        let user = User::for_root("mysql");
        let scratch = Scratch::new(user.as_ref());
        let data = scratch.join("d");
        let mut init = command(&install, user.as_ref());
        init.args(["--no-defaults", &format!("--datadir={data}"), "--auth-root-authentication-method=normal"]);
        init.arg("--skip-test-db").current_dir(scratch.path());
        // It fails now and then where several run at a time.
        let mut installed = init.output().unwrap();
        for _ in 0..4 {
            if !installed.status.success() {
                let _ = std::fs::remove_dir_all(&data);
                installed = init.output().unwrap();
            }
        }
        assert_well(&installed);
        let (socket, pid) = (scratch.join("s"), scratch.join("p"));
        let server = Server::start(|port| {
            let fixed = format!(
                "--no-defaults --datadir={data} --bind-address=127.0.0.1 --port={port} --socket={socket} --pid-file={pid} \
                 --max-connections=40 --innodb-flush-log-at-trx-commit=0"
            );
            let mut args: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
            args.extend(extra.iter().copied().map(str::to_owned));
            Start { program: program.clone(), args, user: user.clone(), folder: scratch.path().to_owned(), port }
        });
        let mariadb = MariaDb { server, scratch };
        use mysql::prelude::Queryable;
        mariadb.admin().query_drop("create database test").unwrap();
        Some(mariadb)
    }

    pub fn opts(&self) -> mysql::OptsBuilder {
        self.opts_at(self.server.port())
    }

    /// By way of a proxy.
    pub fn opts_at(&self, port: u16) -> mysql::OptsBuilder {
        let opts = mysql::OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).user(Some("root"));
        opts.prefer_socket(false).db_name(Some("test"))
    }

    pub fn unix_path(&self) -> String {
        self.scratch.join("s")
    }

    /// A connection beside the pool's.
    pub fn admin(&self) -> mysql::Conn {
        mysql::Conn::new(self.opts().db_name(None::<String>)).unwrap()
    }

    /// Ends every other session.
    pub fn kill_all(&self) {
        use mysql::prelude::Queryable;
        let mut admin = self.admin();
        let others =
            "select id from information_schema.processlist where id <> connection_id() and user <> 'system user'";
        for id in admin.query::<u64, _>(others).unwrap() {
            let _ = admin.query_drop(format!("kill {id}"));
        }
    }
}

#[track_caller]
fn assert_well(output: &Output) {
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{said}");
}

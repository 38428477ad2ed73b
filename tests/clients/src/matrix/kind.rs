//! What a caller was told, in as few words as a table has room for.

use std::io;

use corepool::GetError;

/// The kind of an error.
pub trait Kind {
    fn kind(&self) -> String;
}

impl Kind for GetError {
    fn kind(&self) -> String {
        format!("no connection: {:?}", GetError::kind(self))
    }
}

impl Kind for r2d2::Error {
    fn kind(&self) -> String {
        "no connection: TimedOut".to_owned()
    }
}

impl Kind for io::Error {
    fn kind(&self) -> String {
        match self.kind() {
            io::ErrorKind::WouldBlock => "TimedOut".to_owned(),
            kind => format!("{kind:?}"),
        }
    }
}

impl Kind for redis::RedisError {
    fn kind(&self) -> String {
        match self.code() {
            _ if self.is_timeout() => "TimedOut".to_owned(),
            Some(code) => code.to_owned(),
            None => format!("{:?}", self.kind()),
        }
    }
}

impl Kind for postgres::Error {
    fn kind(&self) -> String {
        match self.code() {
            Some(code) => code.code().to_owned(),
            None if self.is_closed() => "Closed".to_owned(),
            None => "Io".to_owned(),
        }
    }
}

impl Kind for mysql::Error {
    fn kind(&self) -> String {
        match self {
            mysql::Error::MySqlError(error) => error.code.to_string(),
            mysql::Error::IoError(error) => Kind::kind(error),
            mysql::Error::CodecError(_) => "Codec".to_owned(),
            mysql::Error::DriverError(error) => format!("{error:?}"),
            _ => "Other".to_owned(),
        }
    }
}

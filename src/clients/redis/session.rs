//! What the commands that were sent have made of a session.
#![forbid(unsafe_code)]

use redis::Value;

use super::changing::changing;
use super::frames::commands;

/// What the next user must not inherit.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Commands so far, and replies so far: the first reply is the first command's.
    sent: u64,
    heard: u64,
    /// `MULTI`: the next user's commands would be queued.
    transaction: Begun,
    /// `WATCH`: the next user's transaction might fail.
    watches: Begun,
    /// Anything else that outlasts a command, for good.
    changed: bool,
}

/// What one command begins and another one ends. Whatever is not known to have ended has begun.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Begun {
    #[default]
    No,
    Yes,
    /// The command of this number ends it, unless it is refused: for an argument too many, a right that is missing, or because the
    /// transaction that it should end has not begun.
    EndsWith(u64),
}

impl Begun {
    fn ends_with(&mut self, number: u64) {
        if *self != Begun::No {
            *self = Begun::EndsWith(number);
        }
    }
}

impl Session {
    /// Notes what is about to be sent. How many replies it is owed.
    pub(super) fn sends(&mut self, packed: &[u8]) -> u64 {
        let before = self.sent;
        for command in commands(packed) {
            self.sent += 1;
            match command {
                Ok(words) => self.notes(words),
                // Nobody knows what this is.
                Err(_) => self.changed = true,
            }
        }
        self.sent - before
    }

    fn notes(&mut self, [name, argument]: [&[u8]; 2]) {
        let is = |one: &[u8]| name.eq_ignore_ascii_case(one);
        // Most commands are none of these, and their length tells.
        if !(4..=12).contains(&name.len()) {
            return;
        }
        if is(b"MULTI") {
            self.transaction = Begun::Yes;
        } else if is(b"WATCH") {
            self.watches = Begun::Yes;
        } else if is(b"EXEC") || is(b"DISCARD") {
            self.transaction.ends_with(self.sent);
            self.watches.ends_with(self.sent);
        } else if is(b"UNWATCH") {
            // Inside of a transaction it is queued, and the transaction's end ends the watches too.
            self.watches.ends_with(self.sent);
        } else {
            self.changed |= changing(name, argument).is_some();
        }
    }

    /// Notes the next reply.
    #[inline]
    pub(super) fn hears(&mut self, reply: &Value) {
        self.heard += 1;
        let now = Begun::EndsWith(self.heard);
        for begun in [&mut self.transaction, &mut self.watches] {
            if *begun == now {
                *begun = if ends(reply) { Begun::No } else { Begun::Yes };
            }
        }
    }

    #[inline]
    pub(super) fn is_clean(&self) -> bool {
        self.transaction == Begun::No && self.watches == Begun::No && !self.changed
    }
}

/// Whether the command that has this reply has ended what it is to end. An `EXEC` that Redis aborts, or refuses within a transaction, does;
/// it says so.
fn ends(reply: &Value) -> bool {
    match reply {
        Value::ServerError(error) => error.code() == "EXECABORT",
        // What it is about may be an error.
        Value::Attribute { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(command: &str) -> Vec<u8> {
        let mut words = command.split(' ');
        let mut packed = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            packed.arg(word);
        });
        packed.get_packed_command()
    }

    fn reply(said: &str) -> Value {
        redis::parse_redis_value(format!("{said}\r\n").as_bytes()).unwrap()
    }

    /// Each is answered before the next one is sent, as what follows `->` says, or with `OK`.
    fn after(exchanges: &[&str]) -> bool {
        let mut session = Session::default();
        for exchange in exchanges {
            let (command, said) = exchange.split_once(" -> ").unwrap_or((exchange, "+OK"));
            assert_eq!(session.sends(&packed(command)), 1);
            session.hears(&reply(said));
        }
        session.is_clean()
    }

    /// The same, all sent at once.
    fn after_pipeline(exchanges: &[&str]) -> bool {
        let mut session = Session::default();
        let exchanges = exchanges.iter().map(|exchange| exchange.split_once(" -> ").unwrap_or((exchange, "+OK")));
        let sent: Vec<u8> = exchanges.clone().flat_map(|(command, _)| packed(command)).collect();
        assert_eq!(session.sends(&sent), exchanges.clone().count() as u64);
        exchanges.for_each(|(_, said)| session.hears(&reply(said)));
        session.is_clean()
    }

    #[test]
    fn what_outlasts_a_command_is_noted() {
        for clean in [
            &["GET k"][..],
            &["MULTI", "SET k v -> +QUEUED", "EXEC -> *1\r\n+OK"],
            &["multi", "discard"],
            &["WATCH k", "UNWATCH"],
            &["WATCH k", "MULTI", "EXEC -> *-1"],
            &["WATCH k", "MULTI", "UNWATCH -> +QUEUED", "DISCARD"],
            &["MULTI", "GET -> -ERR wrong number of arguments", "EXEC -> -EXECABORT Transaction discarded"],
            &["MULTI", "EXEC extra -> -EXECABORT Transaction discarded because of: wrong number of arguments"],
            &["MULTI", "EXEC -> *0", "MULTI", "EXEC -> *0"],
            &["CLIENT INFO", "SCRIPT LOAD x", "XREAD COUNT 1 STREAMS s 0"],
        ] {
            assert!(after(clean), "{clean:?}");
            assert!(after_pipeline(clean), "{clean:?}");
        }
        for left in [
            &["MULTI"][..],
            &["watch k"],
            &["MULTI", "EXEC -> *0", "MULTI"],
            &["MULTI", "DISCARD", "WATCH k"],
            &["SELECT 3"],
            &["select 3", "select 0"],
            &["CLIENT REPLY OFF"],
            &["client tracking on"],
            &["CLIENT SETNAME somebody"],
            &["script debug sync"],
            &["REPLCONF capa eof"],
            &["SUBSCRIBE c"],
            &["punsubscribe"],
            &["HELLO 3"],
            &["MONITOR"],
        ] {
            assert!(!after(left), "{left:?}");
            assert!(!after_pipeline(left), "{left:?}");
        }
        let mut session = Session::default();
        assert_eq!(session.sends(b"PING\r\n"), 1);
        assert!(!session.is_clean(), "an inline command may be anything");
    }

    #[test]
    fn an_end_that_was_refused_is_none() {
        for left in [
            &["MULTI", "DISCARD extra -> -ERR wrong number of arguments for 'discard' command"][..],
            &["MULTI", "DISCARD -> -NOPERM User bob has no permissions to run the 'discard' command"],
            &["WATCH k", "EXEC -> -ERR EXEC without MULTI"],
            &["WATCH k", "DISCARD -> -ERR DISCARD without MULTI"],
            &["WATCH k", "UNWATCH extra -> -ERR wrong number of arguments for 'unwatch' command"],
        ] {
            assert!(!after(left), "{left:?}");
            assert!(!after_pipeline(left), "{left:?}");
        }
    }

    #[test]
    fn an_end_without_its_reply_is_none() {
        let mut session = Session::default();
        session.sends(&[packed("MULTI"), packed("EXEC")].concat());
        session.hears(&Value::Okay);
        assert!(!session.is_clean());
        session.hears(&Value::Array(Vec::new()));
        assert!(session.is_clean());
    }
}

//! What the commands that were sent have made of a session.
#![forbid(unsafe_code)]

use super::frames::commands;

/// What the next user must not inherit.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// `MULTI` without its end: the next user's commands would be queued.
    transaction: bool,
    /// `WATCH` without its end: the next user's transaction might fail.
    watches: bool,
    /// Anything else that outlasts a command, for good.
    changed: bool,
}

/// Commands that change how later ones are understood or answered.
const CHANGING: [&[u8]; 13] = [
    b"SELECT",
    b"AUTH",
    b"HELLO",
    b"SUBSCRIBE",
    b"PSUBSCRIBE",
    b"SSUBSCRIBE",
    b"MONITOR",
    b"READONLY",
    b"ASKING",
    b"SYNC",
    b"PSYNC",
    b"QUIT",
    b"RESET",
];

/// What `CLIENT` has that does.
const CHANGING_CLIENT: [&[u8]; 5] = [b"REPLY", b"TRACKING", b"CACHING", b"NO-EVICT", b"NO-TOUCH"];

impl Session {
    /// Notes what is about to be sent. How many replies it is owed.
    pub(super) fn sends(&mut self, packed: &[u8]) -> u64 {
        let mut sent = 0;
        for command in commands(packed) {
            sent += 1;
            match command {
                Ok(words) => self.notes(words),
                // Nobody knows what this is.
                Err(_) => self.changed = true,
            }
        }
        sent
    }

    fn notes(&mut self, [name, argument]: [&[u8]; 2]) {
        let is = |one: &[u8]| name.eq_ignore_ascii_case(one);
        // Most commands are none of these, and their length tells.
        if !(4..=10).contains(&name.len()) {
            return;
        }
        if is(b"MULTI") {
            self.transaction = true;
        } else if is(b"WATCH") {
            self.watches = true;
        } else if is(b"EXEC") || is(b"DISCARD") {
            (self.transaction, self.watches) = (false, false);
        } else if is(b"UNWATCH") {
            // Inside of a transaction it is queued, and has nothing to undo.
            self.watches = false;
        } else if is(b"CLIENT") {
            self.changed |= CHANGING_CLIENT.iter().any(|one| argument.eq_ignore_ascii_case(one));
        } else {
            self.changed |= CHANGING.iter().any(|one| is(one));
        }
    }

    #[inline]
    pub(super) fn is_clean(&self) -> bool {
        !(self.transaction || self.watches || self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commands: &[&str]) -> (bool, u64) {
        let mut session = Session::default();
        let mut owed = 0;
        for command in commands {
            let mut words = command.split(' ');
            let mut packed = redis::cmd(words.next().unwrap());
            words.for_each(|word| {
                packed.arg(word);
            });
            owed += session.sends(&packed.get_packed_command());
        }
        (session.is_clean(), owed)
    }

    #[test]
    fn what_outlasts_a_command_is_noted() {
        for clean in [
            &["GET k"][..],
            &["MULTI", "SET k v", "EXEC"],
            &["multi", "discard"],
            &["WATCH k", "UNWATCH"],
            &["WATCH k", "MULTI", "EXEC"],
            &["CLIENT INFO", "CLIENT SETINFO LIB-NAME x", "XREAD COUNT 1 STREAMS s 0"],
        ] {
            assert_eq!(after(clean), (true, clean.len() as u64), "{clean:?}");
        }
        for left in [
            &["MULTI"][..],
            &["watch k"],
            &["SELECT 3"],
            &["select 3", "select 0"],
            &["CLIENT REPLY OFF"],
            &["client tracking on"],
            &["SUBSCRIBE c"],
            &["HELLO 3"],
            &["MONITOR"],
        ] {
            assert_eq!(after(left), (false, left.len() as u64), "{left:?}");
        }
        let mut session = Session::default();
        assert_eq!(session.sends(b"PING\r\n"), 1);
        assert!(!session.is_clean(), "an inline command may be anything");
    }
}

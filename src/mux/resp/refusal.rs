//! Commands that do not belong on a shared connection.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use crate::clients::changing;

/// Beside those that change a connection for good, those that do so until another one comes, which is anybody's here; and the one that
/// has the server leave its place.
const SHARED: [&str; 6] = ["DISCARD", "EXEC", "FAILOVER", "MULTI", "UNWATCH", "WATCH"];

/// Those that wait for something to happen, while everybody else waits for them.
const BLOCKS: [&str; 10] =
    ["BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT", "WAITAOF"];

/// Why a command was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Changes(String),
    Blocks(String),
    NoCommand,
    Miscounted { commands: usize, replies: usize },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Changes(name) => {
                write!(
                    f,
                    "{name} would change the connection that all callers of a mux share: use a corepool::Pool for it"
                )
            }
            Refusal::Blocks(name) => {
                write!(f, "{name} would hold up all callers of a mux: use a corepool::Pool for it")
            }
            Refusal::NoCommand => f.write_str("what is to be sent is no packed command"),
            Refusal::Miscounted { commands, replies } => {
                write!(f, "{commands} commands are to be sent, and {replies} replies expected")
            }
        }
    }
}

impl Error for Refusal {}

/// Checks what is to be sent: so many whole commands, none of which must be refused.
pub(super) fn check(packed: &[u8], replies: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut commands = 0;
    for command in Commands::of(packed) {
        let command = command.map_err(|()| Refusal::NoCommand)?;
        commands += 1;
        let name = || String::from_utf8_lossy(command.name).to_uppercase();
        let listed = |names: &[&str]| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(command.name));
        if let Some((name, subcommand)) = changing(command.name, command.first().unwrap_or_default()) {
            let name = subcommand.map_or_else(|| name.to_owned(), |subcommand| format!("{name} {subcommand}"));
            return Err(Refusal::Changes(name).into());
        }
        if listed(&SHARED) {
            return Err(Refusal::Changes(name()).into());
        }
        let reads_stream = command.is_one_of(&[b"XREAD", b"XREADGROUP"]);
        if listed(&BLOCKS) || reads_stream && command.waits_for_a_stream() {
            return Err(Refusal::Blocks(name()).into());
        }
    }
    if commands == replies { Ok(()) } else { Err(Refusal::Miscounted { commands, replies }.into()) }
}

/// The packed commands in some bytes.
pub(super) struct Commands<'a> {
    rest: &'a [u8],
}

/// One of them.
#[derive(Debug)]
pub(super) struct Command<'a> {
    name: &'a [u8],
    /// What follows the name, packed.
    arguments: &'a [u8],
}

impl<'a> Commands<'a> {
    pub(super) fn of(packed: &'a [u8]) -> Self {
        Commands { rest: packed }
    }

    fn take(&mut self) -> Option<Command<'a>> {
        let mut rest = self.rest;
        let words = length(&mut rest, b'*').filter(|words| *words > 0)?;
        let name = word(&mut rest)?;
        let begin = rest;
        for _ in 1..words {
            word(&mut rest)?;
        }
        let arguments = &begin[..begin.len() - rest.len()];
        self.rest = rest;
        Some(Command { name, arguments })
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let command = self.take().ok_or(());
        if command.is_err() {
            self.rest = &[];
        }
        Some(command)
    }
}

impl<'a> Command<'a> {
    pub(super) fn is_one_of(&self, names: &[&[u8]]) -> bool {
        names.iter().any(|name| name.eq_ignore_ascii_case(self.name))
    }

    fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.arguments;
        std::iter::from_fn(move || word(&mut rest))
    }

    fn first(&self) -> Option<&'a [u8]> {
        self.words().next()
    }

    /// Whether `BLOCK` is among its options: before the keys, and no other option's value.
    fn waits_for_a_stream(&self) -> bool {
        let mut words = self.words();
        while let Some(word) = words.next() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("BLOCK") || is("STREAMS") {
                return is("BLOCK");
            }
            let values = if is("GROUP") { 2 } else { usize::from(is("COUNT") || is("CLAIM")) };
            for _ in 0..values {
                words.next();
            }
        }
        false
    }
}

fn length(rest: &mut &[u8], mark: u8) -> Option<usize> {
    let end = rest.windows(2).take(24).position(|pair| pair == b"\r\n")?;
    let text = rest[..end].strip_prefix(&[mark])?;
    // As Redis reads it, which hangs up on all if it does not like it: no sign, and no zero before other digits.
    let strict = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'));
    let length = std::str::from_utf8(text).ok().filter(|_| strict)?.parse().ok()?;
    *rest = &rest[end + 2..];
    Some(length)
}

fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = length(rest, b'$')?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after.strip_prefix(b"\r\n")?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> Option<String> {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        check(&command.get_packed_command(), 1).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn what_changes_or_holds_the_connection_is_refused_in_any_spelling() {
        for words in [
            &["MULTI"][..],
            &["select", "1"],
            &["Subscribe", "news"],
            &["AUTH"],
            &["post", "x"],
            &["Host:", "x"],
            &["SHUTDOWN"],
            &["blpop", "key", "0"],
            &["WAIT", "1", "0"],
            &["xread", "COUNT", "2", "block", "0", "STREAMS", "s", "$"],
            &["XREADGROUP", "GROUP", "STREAMS", "STREAMS", "BLOCK", "0", "STREAMS", "s", ">"],
        ] {
            let refusal = refused(words).unwrap_or_else(|| panic!("{words:?} is sent"));
            assert!(refusal.contains("corepool::Pool"), "{refusal}");
            assert!(refusal.starts_with(&words[0].to_uppercase()), "{refusal}");
        }
    }

    #[test]
    fn a_refusal_names_the_subcommand() {
        for (words, says) in [
            (["client", "reply", "off"], "CLIENT REPLY would change"),
            (["CLIENT", "tracking", "on"], "CLIENT TRACKING would change"),
            (["script", "DEBUG", "yes"], "SCRIPT DEBUG would change"),
        ] {
            let refusal = refused(&words).unwrap_or_else(|| panic!("{words:?} is sent"));
            assert!(refusal.starts_with(says), "{refusal}");
        }
    }

    #[test]
    fn others_are_sent() {
        for words in [
            &["GET", "MULTI"][..],
            &["SET", "k", "*1\r\n$5\r\nMULTI\r\n"],
            &["CLIENT", "ID"],
            &["CLIENT"],
            &["SCRIPT", "LOAD", "return 1"],
            &["XREAD", "STREAMS", "BLOCK", "0"],
            &["XREADGROUP", "GROUP", "BLOCK", "block", "COUNT", "1", "STREAMS", "s", ">"],
            &["EVAL", "return 1", "0"],
            &["PUBLISH", "news", "SUBSCRIBE"],
        ] {
            assert_eq!(refused(words), None, "{words:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_not_sent() {
        for packed in [
            &b""[..],
            b"*1\r\n$+4\r\nPING\r\n",
            b"*01\r\n$4\r\nPING\r\n",
            b"GET k\r\n",
            b"*0\r\n",
            b"*1\r\n$3\r\nGET",
            b"*2\r\n$3\r\nGET\r\n",
            b"*1\r\n$4\r\nPING\r\nx",
        ] {
            assert!(check(packed, 1).is_err(), "{packed:?}");
        }
        let two = redis::cmd("PING").get_packed_command().repeat(2);
        assert!(check(&two, 1).is_err());
        assert!(check(&two, 2).is_ok());
    }
}

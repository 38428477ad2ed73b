//! The commands that change a connection for whoever uses it next.
#![forbid(unsafe_code)]

/// Each with the subcommands that do; none: the command itself does. Transactions are not here: they end.
const CHANGING: [(&str, &[&str]); 23] = [
    ("ASKING", &[]),
    ("AUTH", &[]),
    (
        "CLIENT",
        // The last two are Valkey's.
        &["CACHING", "NO-EVICT", "NO-TOUCH", "REPLY", "SETINFO", "SETNAME", "TRACKING", "CAPA", "IMPORT-SOURCE"],
    ),
    ("HELLO", &[]),
    ("MONITOR", &[]),
    ("PSUBSCRIBE", &[]),
    ("PSYNC", &[]),
    ("PUNSUBSCRIBE", &[]),
    ("QUIT", &[]),
    ("READONLY", &[]),
    ("READWRITE", &[]),
    ("REPLCONF", &[]),
    ("RESET", &[]),
    ("SCRIPT", &["DEBUG"]),
    ("SELECT", &[]),
    ("SSUBSCRIBE", &[]),
    ("SUBSCRIBE", &[]),
    ("SUNSUBSCRIBE", &[]),
    ("SYNC", &[]),
    ("UNSUBSCRIBE", &[]),
    // Redis hangs up on who says these, which are HTTP's.
    ("HOST:", &[]),
    ("POST", &[]),
    // The server goes, or hands over.
    ("SHUTDOWN", &[]),
];

/// The command, and the subcommand where only that one does; `None`: it changes nothing. A word that is not there is empty.
pub(crate) fn changing(name: &[u8], argument: &[u8]) -> Option<(&'static str, Option<&'static str>)> {
    let is = |listed: &str, word: &[u8]| listed.as_bytes().eq_ignore_ascii_case(word);
    let (command, subcommands) = CHANGING.iter().find(|(command, _)| is(command, name))?;
    if subcommands.is_empty() {
        return Some((command, None));
    }
    let subcommand = subcommands.iter().find(|subcommand| is(subcommand, argument))?;
    Some((command, Some(subcommand)))
}

//! What the examples' command lines share: the way from arguments to an exit status, numbers, rows of a table, an error's chain.
//!
//! Exit status: 0 for success; 1 if it could not run, or if what it is to show did not hold; 2 for a wrong argument.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

use lexopt::prelude::ValueExt;

/// Why an example could not run.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Command<A> {
    Help,
    Run(A),
}

/// The whole of an example's `main`.
pub(crate) fn run<A>(
    name: &str,
    help: &str,
    parse: impl FnOnce(lexopt::Parser) -> Result<Command<A>, lexopt::Error>,
    go: impl FnOnce(&A) -> Result<ExitCode, Failure>,
) -> ExitCode {
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Command::Run(args)) => go(&args),
        Ok(Command::Help) => print(help).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{name}: {error}\nTry '{name} --help'.");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("{name}: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// `print!` panics when the reader has gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The value of `option`: a count from 1. What else limits it is checked by who uses it.
pub(crate) fn number(parser: &mut lexopt::Parser, option: &str) -> Result<usize, lexopt::Error> {
    let text = parser.value()?.string()?;
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(invalid(option, &text, "a whole number from 1")),
    }
}

/// What is wrong with the value of `option`.
pub(crate) fn invalid(option: &str, given: &str, wanted: impl Display) -> lexopt::Error {
    format!("invalid {option} {given:?}: it wants {wanted}").into()
}

/// Appends a row of a table: what, how much, and what there is to say of it.
pub(crate) fn row(table: &mut String, name: &str, value: impl Display, note: impl Display) {
    let line = fmt::format(format_args!("{name:<28}{value:>12}  {note}"));
    // Writing to a String does not fail.
    let _ = writeln!(table, "{}", line.trim_end());
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut next = error.source();
    while let Some(cause) = next {
        // Some errors (`RedisError`) show their cause as their own text and name it as their source too.
        let current = cause.to_string();
        if current != last {
            text.push_str(": ");
            text.push_str(&current);
        }
        last = current;
        next = cause.source();
    }
    text
}

//! Child processes as a pool's connections: started, asked a line, watched, ended and reaped.
//!
//! Two descriptors tell that a child is gone. Its **pidfd** becomes readable when it ends, however it ends. Its **output** hangs up
//! when it closes that, which a child may do and live on, mute. The output is watched for its hang-up alone, as a socket is
//! ([`Watch::socket`]): lines that come through it wake nobody.
//!
//! A child that has ended stays a zombie until its parent waits for it. Here that is the worker's drop, so that no way out of the pool
//! forgets it; the pool drops workers in the background ([`Manager::close`]), since a wait may take its time.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use corepool::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What every program that answers lines answers with itself: the first line that a child is asked.
const TRIAL: &str = "1";
/// How long a child may think about a line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that it may give.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a child whose input has ended may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(100);

/// Starts children that all run the same program.
#[derive(Debug)]
pub(crate) struct Children {
    program: String,
}

/// A child that answers each line with a line.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    output: ChildStdout,
    pidfd: OwnedFd,
    /// What of its output was read and belongs to no answer yet.
    received: Vec<u8>,
    /// A line was sent whose answer has not been read whole: nobody else may ask until it has.
    owes: bool,
}

/// Why there is no child.
#[derive(Debug)]
pub(crate) struct StartError {
    step: &'static str,
    program: String,
    cause: io::Error,
}

impl Children {
    pub(crate) fn of(program: &str) -> Self {
        Children { program: program.to_owned() }
    }

    fn start(&self) -> Result<Worker, StartError> {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| self.error("start", cause))?;
        let Some(output) = child.stdout.take() else { unreachable!("its output was just made a pipe") };
        // The number cannot be another process's by now: the child is ours to reap, and nobody has.
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Worker { child, output, pidfd, received: Vec::new(), owes: false }),
            Err(error) => {
                end(&mut child);
                Err(self.error("watch", error))
            }
        }
    }

    fn error(&self, step: &'static str, cause: impl Into<io::Error>) -> StartError {
        StartError { step, program: self.program.clone(), cause: cause.into() }
    }
}

impl Manager for Children {
    type Connection = Worker;
    type Error = StartError;

    /// A program that starts is not yet one that answers: without the trial, one that ends at once would be started for ever.
    fn connect(&self, dial: &Dial<'_>) -> Result<Worker, StartError> {
        let mut worker = self.start()?;
        match worker.ask_within(TRIAL, dial.remaining()) {
            Ok(answer) if answer == TRIAL && !worker.owes => Ok(worker),
            Ok(answer) => {
                let more = if worker.owes { " and more" } else { "" };
                let odd = format!("it answers {TRIAL:?} with {answer:?}{more}");
                Err(self.error("talk to", io::Error::new(io::ErrorKind::InvalidData, odd)))
            }
            Err(cause) => Err(self.error("talk to", cause)),
        }
    }

    fn watch(&self, worker: &Worker, on: &mut Watch<'_>) {
        on.readable(&worker.pidfd);
        on.socket(&worker.output);
    }

    /// The pool peeks at sockets only. A line that nobody asked for would answer the next question.
    fn on_checkout(&self, worker: &mut Worker) -> Result<Verdict, StartError> {
        match rustix::io::ioctl_fionread(&worker.output) {
            Ok(0) => Ok(Verdict::Keep),
            Ok(_) | Err(_) => Ok(Verdict::Discard),
        }
    }

    fn on_return(&self, worker: &mut Worker, how: Outcome) -> Verdict {
        match how {
            Outcome::Done | Outcome::Failed if !worker.owes => Verdict::Keep,
            _ => Verdict::Discard,
        }
    }

    /// A child that reads lines ends when there are no more; one that does not is killed by the drop.
    fn close(&self, mut worker: Worker, why: CloseReason) {
        if why != CloseReason::PeerClosed {
            drop(worker.child.stdin.take());
            let _ = ready(&worker.pidfd, Instant::now() + FAREWELL);
        }
    }
}

impl Worker {
    /// Sends a line, and returns the line that answers it, both without their end.
    pub(crate) fn ask(&mut self, line: &str) -> io::Result<String> {
        self.ask_within(line, ANSWER_TIMEOUT)
    }

    fn ask_within(&mut self, line: &str, limit: Duration) -> io::Result<String> {
        if line.contains('\n') {
            // Two lines have two answers, the second of which would be the next one's.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than a line"));
        }
        let Some(input) = self.child.stdin.as_mut().filter(|_| !self.owes) else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "an earlier answer is still to come"));
        };
        self.owes = true;
        input.write_all(format!("{line}\n").as_bytes())?;
        let deadline = Instant::now() + limit;
        let end = loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.received.len() > MAX_ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that is too long"));
            }
            self.read_some(deadline)?;
        };
        let answer = String::from_utf8_lossy(&self.received[..end]).into_owned();
        // More than a line for a line: it and we are out of step.
        self.owes = self.received.len() > end + 1;
        self.received.clear();
        Ok(answer)
    }

    fn read_some(&mut self, deadline: Instant) -> io::Result<()> {
        if !ready(&self.output, deadline)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the child does not answer"));
        }
        let mut chunk = [0; 4096];
        match self.output.read(&mut chunk)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the child has ended")),
            length => {
                self.received.extend_from_slice(&chunk[..length]);
                Ok(())
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Something to kill it by once it is not ours any more; unlike its number, it never means another process.
    pub(crate) fn handle(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills a child, unless it has ended, and reaps it.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

pub(crate) fn kill(handle: &OwnedFd) -> io::Result<()> {
    Ok(pidfd_send_signal(handle, Signal::KILL)?)
}

/// Whether the child that was asked had ended or fallen mute: the question may be put to another.
pub(crate) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe)
}

/// Waits until there is something to read, or the other end has hung up. False at the deadline.
fn ready(fd: impl rustix::fd::AsFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StartError { step, program, cause } = self;
        match cause.kind() {
            io::ErrorKind::NotFound => write!(f, "could not {step} {program}, which is not installed here"),
            _ => write!(f, "could not {step} {program}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

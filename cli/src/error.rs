//! What can go wrong, how it is told, and which exit code it has.

use std::io;

use common::api::Problem;
use common::names::Code;

use crate::exit::Exit;

/// An error of the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader of our output has gone (`| head`).
    #[error("nobody reads the output")]
    OutputGone,
    /// Output cannot be written.
    #[error("output cannot be written: {0}")]
    Output(#[source] io::Error),
    /// The server says no.
    #[error("{problem}")]
    Problem {
        /// What it says.
        problem: Problem,
        /// Whether the request was a command that was thereby refused.
        command: bool,
    },
    /// Ours, with its exit code.
    #[error("{text}")]
    Plain {
        /// How the program ends.
        exit: Exit,
        /// What went wrong.
        text: String,
        /// What to do.
        remedy: Option<String>,
    },
}

/// A result of the program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with its exit code.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self::Plain { exit, text: text.into(), remedy: None }
    }

    /// Wrong usage.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(mut self, what: impl Into<String>) -> Self {
        if let Self::Plain { remedy, .. } = &mut self {
            *remedy = Some(what.into());
        }
        self
    }

    /// From writing output.
    pub fn output(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe { Self::OutputGone } else { Self::Output(e) }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::OutputGone => Exit::Ok,
            Self::Output(_) => Exit::Failed,
            Self::Plain { exit, .. } => *exit,
            Self::Problem { problem, command } => exit_of(problem, *command),
        }
    }

    /// The stable code, if the server gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem { problem, .. } => Some(problem.code),
            _ => None,
        }
    }

    /// What to do, where known.
    pub fn what_to_do(&self) -> Option<String> {
        match self {
            Self::Plain { remedy, .. } => remedy.clone(),
            Self::Problem { problem, .. } => remedy_of(problem.code).map(str::to_owned),
            _ => None,
        }
    }
}

fn exit_of(problem: &Problem, command: bool) -> Exit {
    match problem.code {
        Code::Unauthenticated | Code::Forbidden | Code::WrongOrigin => Exit::NotAuthorised,
        Code::NotFound | Code::UnknownTwin | Code::UnknownPoint => Exit::NotFound,
        // The request got in, and what became of it nobody here knows.
        Code::Internal | Code::Interrupted if command => Exit::Unknown,
        Code::Expired => Exit::Expired,
        Code::Unavailable => Exit::NotReachable,
        _ if command => Exit::Rejected,
        _ => Exit::Failed,
    }
}

/// What an operator does about a code.
pub fn remedy_of(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Unauthenticated => "sign in with `twinway login <url>`, or set TWINWAY_TOKEN",
        Code::Forbidden => "ask an administrator for a role that allows it on this asset",
        Code::WrongOrigin => "use an address that the server knows as its own name",
        Code::UnknownTwin => "`twinway twins ls` lists the twins that you may see",
        Code::NotFound => {
            "lists show what there is and you may see: `twinway twins ls`, `twinway gateway list`"
        }
        Code::UnknownPoint => "`twinway twins get <twin>` lists its points",
        Code::IdempotencyConflict => "use a new idempotency key for a new command",
        Code::GatewayOffline => "see `twinway gateways`; commands are never queued for an offline gateway",
        Code::NotWritable => "only points with write limits in the gateway's configuration are writable",
        Code::TypeMismatch | Code::OutOfLimits => {
            "`twinway twins get <twin>` shows type and limits of its points"
        }
        Code::Interlocked => "bring the plant to a state that the interlock allows",
        Code::InterlockInput => {
            "an input of the interlock is bad, stale or missing: see to that sensor first"
        }
        Code::LocalMode => "somebody at the box sets it with `twinway switch remote --reason ...`",
        Code::Owned => "wait until the other owner lets go, or take it over at the box",
        Code::RateLimited | Code::QueueFull | Code::Unavailable => "try again later",
        Code::AuditUnavailable => "the box cannot write to its disk: see `twinway buffer status`",
        Code::NotConnected | Code::DeviceTimeout => "see the device's state in `twinway status`",
        Code::ReadbackMismatch => "look at the device: it holds another value than was written",
        Code::Interrupted => "look at the point before you repeat the command",
        Code::IdentityConflict => {
            "see `twinway gateways`, and let the box in with `twinway gateway accept <name>` if it is the right one"
        }
        Code::ChangedSince => "somebody changed the point meanwhile: decide anew",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_is_told_from_an_unknown_outcome() {
        let problem = |code, command| Error::Problem { problem: Problem::new(code, "x"), command }.exit();
        assert_eq!(problem(Code::LocalMode, true), Exit::Rejected);
        assert_eq!(problem(Code::AuditUnavailable, true), Exit::Rejected);
        assert_eq!(problem(Code::Internal, true), Exit::Unknown);
        assert_eq!(problem(Code::Internal, false), Exit::Failed);
        assert_eq!(problem(Code::UnknownPoint, true), Exit::NotFound);
        assert_eq!(problem(Code::Forbidden, true), Exit::NotAuthorised);
        assert_eq!(problem(Code::Unavailable, false), Exit::NotReachable);
    }
}

//! Exit codes: the one table that the program, its help and `EXIT_CODES.md` share.

use common::CommandState;

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// How the program ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $($(#[$doc])* $name = $code,)*
        }

        impl Exit {
            /// Every exit with its meaning.
            pub const ALL: &'static [(Exit, &'static str)] = &[$((Exit::$name, $text)),*];

            /// The section of `--help`.
            pub const HELP: &'static str = concat!("Exit codes:\n", $("  ", stringify!($code), "\t", $text, "\n"),*);
        }
    };
}

exits! {
    /// Done.
    Ok = 0, "done; a command succeeded, or was accepted and not waited for";
    /// Anything that has no code of its own.
    Failed = 1, "failed for a reason without its own code; a read point is bad; a configuration is refused";
    /// The command line, an environment variable or a value is wrong.
    Usage = 2, "wrong usage: arguments, environment, or a value that does not fit the point";
    /// No such twin, point, command, or checker.
    NotFound = 3, "no such twin, point, command or route; `check` found no twinway-gateway";
    /// Not signed in, or not allowed.
    NotAuthorised = 4, "not signed in, or not allowed";
    /// No connection, no answer, or the server is not ready.
    NotReachable = 5, "not reachable: no connection, no answer, or the server is not ready";
    /// Nothing was written.
    Rejected = 6, "command rejected: nothing was written";
    /// The write was tried and did not do what was asked.
    CommandFailed = 7, "command failed: the write was tried and did not do what was asked";
    /// Its time ran out before the write.
    Expired = 8, "command expired: its time ran out before the write";
    /// Nobody can say.
    Unknown = 9, "outcome unknown: the write may or may not have happened; look before you repeat it";
    /// Waited long enough.
    Timeout = 10, "time ran out while waiting; the command may still go on";
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// How the program ends for a command in this state.
    pub fn of(state: CommandState) -> Self {
        match state {
            CommandState::Accepted
            | CommandState::Sent
            | CommandState::Executing
            | CommandState::Succeeded => Self::Ok,
            CommandState::Rejected => Self::Rejected,
            CommandState::Failed => Self::CommandFailed,
            CommandState::Expired => Self::Expired,
            CommandState::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_exit_code() {
        let doc = include_str!("../EXIT_CODES.md");
        for (exit, text) in Exit::ALL {
            let row = format!("| {} | {text} |", exit.code());
            assert!(doc.lines().any(|l| l == row), "EXIT_CODES.md lacks the line\n{row}");
            assert!(Exit::HELP.contains(text));
        }
        assert_eq!(
            doc.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| code")).count(),
            Exit::ALL.len()
        );
    }
}

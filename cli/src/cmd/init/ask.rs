//! Questions: a line each, with what an empty answer means. A wrong answer is told with its remedy and asked again. With `--yes`
//! nothing is asked, and what would be wrong ends the program.

use std::io::{self, IsTerminal, Write as _};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::Out;

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    out: Out,
    /// Whether somebody is there.
    is_asked: bool,
}

impl Ask {
    /// Without `yes` somebody must be at a terminal.
    pub(super) fn new(out: Out, yes: bool) -> Result<Self> {
        if !yes && !io::stdin().is_terminal() {
            return Err(Error::usage("there is no terminal to ask at")
                .remedy("--yes asks nothing: twinway init --yes --name NAME ...; see --help"));
        }
        Ok(Self { out, is_asked: !yes })
    }

    pub(super) fn is_asked(self) -> bool {
        self.is_asked
    }

    /// A remark between two questions.
    pub(super) fn say(self, text: &str) {
        self.out.note(text);
    }

    /// What was wrong with an answer, if somebody can give another one.
    pub(super) fn again(self, error: Error) -> Result<()> {
        if !self.is_asked {
            return Err(error);
        }
        self.out.error(&error);
        Ok(())
    }

    /// An answer that `take` takes. `given` comes from the command line and is asked for only if it is wrong; an empty answer is
    /// `default`.
    pub(super) async fn text<T>(
        self,
        question: &str,
        given: Option<&str>,
        default: &str,
        take: impl Fn(&str) -> Result<T>,
    ) -> Result<T> {
        let mut answer = match given {
            Some(given) => given.to_owned(),
            None => self.answer(question, default).await?,
        };
        loop {
            match take(&answer) {
                Ok(taken) => return Ok(taken),
                Err(error) => self.again(error)?,
            }
            answer = self.answer(question, default).await?;
        }
    }

    /// Yes or no.
    pub(super) async fn whether(self, question: &str, default: bool) -> Result<bool> {
        let shown = format!("{question} {}", if default { "[Y/n]" } else { "[y/N]" });
        let taken = |answer: &str| match answer.to_ascii_lowercase().as_str() {
            "" => Ok(default),
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err(Error::usage(format!("`{answer}` is neither yes nor no")).remedy("answer y or n")),
        };
        if self.is_asked { self.text(&shown, None, "", taken).await } else { Ok(default) }
    }

    async fn answer(self, question: &str, default: &str) -> Result<String> {
        if !self.is_asked {
            return Ok(default.to_owned());
        }
        let shown =
            if default.is_empty() { format!("{question}: ") } else { format!("{question} [{default}]: ") };
        let failed = |e: io::Error| Error::new(Exit::Failed, format!("the answer cannot be read: {e}"));
        let mut err = io::stderr();
        write!(err, "{shown}").and_then(|()| err.flush()).map_err(failed)?;
        // Away from the runtime, so that Ctrl-C is heard meanwhile.
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|n| (n, line))
        });
        let (count, line) = read.await.map_err(|e| failed(io::Error::other(e)))?.map_err(failed)?;
        if count == 0 {
            return Err(Error::new(Exit::Failed, "nobody answers any more: the input has ended"));
        }
        let line = line.trim();
        Ok(if line.is_empty() { default.to_owned() } else { line.to_owned() })
    }
}

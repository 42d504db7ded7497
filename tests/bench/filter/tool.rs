//! Other people's tools: run in the victim's namespace, told apart when they are missing or cannot run here, and ended
//! when they take too long or too much memory.

use std::process::{Child, ChildStdin, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io::Write as _, thread};

use anyhow::{Context as _, Result};
use harness::Netns;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, prlimit};

/// For commands that do little.
pub const SHORT: Duration = Duration::from_secs(20);
/// Address space of a tool: far more than any needs for a million entries.
const MEMORY: u64 = 10 << 30;

/// Why a filter cannot be measured on this machine; a finding, not a failure.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no such program.
    #[error("not installed (apt-get install {package})")]
    NotInstalled {
        /// Debian's name of what to install.
        package: &'static str,
    },
    /// It is there and was refused.
    #[error("cannot run here: {0}")]
    Refused(String),
    /// It did not end in time.
    #[error("`{command}` was ended after {} s", .after.as_secs())]
    TooSlow {
        /// What was run.
        command: String,
        /// How long it was given.
        after: Duration,
    },
    /// It has no room for the list.
    #[error("takes at most {0} addresses")]
    TooLong(u32),
    /// It has no longest match.
    #[error("takes no prefixes, only addresses")]
    NoPrefixes,
    /// It was set up for the other family.
    #[error("measured with IPv4 addresses only")]
    OnlyIpv4,
}

/// A program and the package that it comes with.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
    /// Environment that it is run with.
    pub environment: &'static [(&'static str, &'static str)],
}

impl Tool {
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package, environment: &[] }
    }

    /// Runs it with `input` and returns what it wrote to standard output.
    pub fn run(&self, ns: &Netns, arguments: &[&str], input: &str) -> Result<String> {
        Ok(self.timed(ns, arguments, input, SHORT)?.0)
    }

    /// The same with a limit of its own, and how long it took.
    pub fn timed(
        &self,
        ns: &Netns,
        arguments: &[&str],
        input: &str,
        limit: Duration,
    ) -> Result<(String, Duration)> {
        let begun = Instant::now();
        let output = self.output(ns, arguments, input, limit)?;
        let took = begun.elapsed();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
            let command = format!("{} {}", self.program, arguments.join(" "));
            let said: String = said.chars().take(200).collect();
            return Err(
                Unavailable::Refused(format!("`{command}` ended with {}: {said}", output.status)).into()
            );
        }
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), took))
    }

    /// The first line of what it says about its version, whatever its exit status is (xdp-filter's is 1).
    pub fn version(&self, ns: &Netns, arguments: &[&str]) -> Result<String> {
        let output = self.output(ns, arguments, "", SHORT)?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
    }

    fn output(&self, ns: &Netns, arguments: &[&str], input: &str, limit: Duration) -> Result<Output> {
        let child = ns
            .command(self.program)
            .args(arguments)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Unavailable::NotInstalled { package: self.package }.into());
            }
            child => child.with_context(|| format!("cannot run `{}`", self.program))?,
        };
        let stdin = child.stdin.take().context("a piped standard input is there")?;
        let (output, ended) = within(child, stdin, input, limit)?;
        if ended {
            let command = format!("{} {}", self.program, arguments.join(" "));
            return Err(Unavailable::TooSlow { command, after: limit }.into());
        }
        Ok(output)
    }
}

/// Waits for the child, and ends it when `limit` has passed; says whether it had to.
fn within(child: Child, mut stdin: ChildStdin, input: &str, limit: Duration) -> Result<(Output, bool)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a process id")?;
    // A number that another process may have by then would not do.
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a child")?;
    let most = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    if let Err(error) = prlimit(Some(pid), Resource::As, most)
        && error != Errno::SRCH
    {
        return Err(error).context("cannot limit the memory of a child");
    }
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            late && pidfd_send_signal(&handle, Signal::KILL).is_ok()
        });
        // A tool that ends early says why in its output; that its input broke is then no news.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output();
        drop(done);
        let ended = watch.join().unwrap_or(false);
        Ok((output?, ended))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_takes_too_long_is_ended_and_one_that_does_not_is_not() -> Result<()> {
        let spawn = |seconds: &str| {
            let mut child = std::process::Command::new("sleep")
                .arg(seconds)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take().context("no pipe")?;
            anyhow::Ok((child, stdin))
        };
        let (child, stdin) = spawn("60")?;
        let (output, ended) = within(child, stdin, "", Duration::from_millis(50))?;
        assert!(ended && !output.status.success());
        let (child, stdin) = spawn("0")?;
        let (output, ended) = within(child, stdin, "", Duration::from_secs(60))?;
        assert!(!ended && output.status.success());
        Ok(())
    }
}

//! Other people's tools: run in the victim's namespace, and told apart when they are missing or cannot run here.

use std::io::Write as _;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use harness::Netns;

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
    /// It has no room for the list.
    #[error("takes at most {0} addresses")]
    TooLong(u32),
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
        let output = self.output(ns, arguments, input)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
            let command = format!("{} {}", self.program, arguments.join(" "));
            return Err(
                Unavailable::Refused(format!("`{command}` ended with {}: {said}", output.status)).into()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The first line of what it says about its version, whatever its exit status is (xdp-filter's is 1).
    pub fn version(&self, ns: &Netns, arguments: &[&str]) -> Result<String> {
        let output = self.output(ns, arguments, "")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
    }

    fn output(&self, ns: &Netns, arguments: &[&str], input: &str) -> Result<Output> {
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
        let mut stdin = child.stdin.take().context("a piped standard input is there")?;
        // A tool that ends early says why in its output; that its input broke is then no news.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        Ok(child.wait_with_output()?)
    }
}

//! The policy file that the daemon is started with: `levee run --config F`.
//!
//! Decides what of the command line it overrules: nothing. What is given there counts, else what the file's `[daemon]` says,
//! else the defaults. A file that cannot be read or has errors keeps the daemon from starting, before anything is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Options;
use crate::policy::{DaemonSettings, Drawing, Policy};

/// A policy file, read.
#[derive(Clone, Debug)]
pub struct Config {
    /// What messages call it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Its `[daemon]`.
    pub settings: DaemonSettings,
}

impl Config {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it cannot be read, or has errors, all of which are told with their lines.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
        match Policy::parse(&file, &text) {
            Ok(checked) => Ok(Self { file, text, settings: checked.policy.daemon }),
            Err(errors) => bail!("{file} cannot be used:\n{}", errors.render(Drawing::Plain)),
        }
    }
}

/// What is given on a command line, as far as it is.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Where to listen.
    pub socket: Option<PathBuf>,
    /// Where the desired state is kept.
    pub state_dir: Option<PathBuf>,
    /// Where programs and maps are pinned.
    pub bpffs: Option<PathBuf>,
    /// Bytes of kernel memory that the prefix tables may take.
    pub max_memory: Option<u64>,
}

impl Options {
    /// What is given, else what the file says, else `defaults`.
    #[must_use]
    pub fn settle(given: Given, config: Option<Config>, defaults: Self) -> Self {
        let settings = config.as_ref().map(|config| config.settings.clone()).unwrap_or_default();
        Self {
            socket: given.socket.or(settings.socket).unwrap_or(defaults.socket),
            state_dir: given.state_dir.or(settings.state_dir).unwrap_or(defaults.state_dir),
            bpffs: given.bpffs.or(settings.bpffs).unwrap_or(defaults.bpffs),
            max_memory: given.max_memory.or(settings.max_memory).unwrap_or(defaults.max_memory),
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_counts_more_than_the_file_and_that_more_than_the_defaults() {
        let path = |text: &str| PathBuf::from(text);
        let defaults = Options {
            socket: path("d"),
            state_dir: path("d"),
            bpffs: path("d"),
            max_memory: 1,
            config: None,
        };
        let settings = DaemonSettings {
            socket: Some(path("f")),
            state_dir: Some(path("f")),
            ..DaemonSettings::default()
        };
        let config = Config { file: "f".to_owned(), text: String::new(), settings };
        let given = Given { socket: Some(path("g")), ..Given::default() };
        let settled = Options::settle(given, Some(config), defaults);
        assert_eq!(
            (settled.socket, settled.state_dir, settled.bpffs, settled.max_memory),
            (path("g"), path("f"), path("d"), 1)
        );
    }
}

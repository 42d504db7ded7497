//! `levee run`: the daemon.

use std::path::PathBuf;

use anyhow::Result;

use super::{DEFAULT_BPFFS, DEFAULT_SOCKET, DEFAULT_STATE_DIR};
use crate::daemon::{self, Config, Given, Options};
use crate::tables::parse_memory;

/// Kernel memory that the prefix tables may take unless told otherwise.
const DEFAULT_MEMORY: u64 = 512 << 20;

/// Run the daemon, in the foreground
///
/// It takes over what an earlier daemon left attached, with its counters, lists and policy. When it stops, whatever is
/// attached goes on filtering. SIGINT and SIGTERM stop it, and SIGHUP where it was started on a terminal; elsewhere
/// SIGHUP changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee run
  levee run --config /etc/levee/policy.toml
  levee run --socket /tmp/levee.sock --state-dir /tmp/levee --bpffs /sys/fs/bpf/levee-test")]
pub struct Args {
    /// Policy to put in force where another one is, without asking whom it cuts off; its `[daemon]` says what is not said here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for sets, policies and what is attached [default: /var/lib/levee]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Directory of the BPF file system that programs and maps are pinned in [default: /sys/fs/bpf/levee]
    #[arg(long, value_name = "DIR", env = "LEVEE_BPFFS")]
    bpffs: Option<PathBuf>,
    /// Kernel memory that the prefix tables may take; what would take more is refused. Replacing them takes as much
    /// again, until the new ones are in force. A million single addresses take about 14 MiB [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    max_memory: Option<u64>,
}

pub fn run(args: Args, socket: PathBuf) -> Result<()> {
    let Args { config, state_dir, bpffs, max_memory } = args;
    let config = config.map(|path| Config::read(&path)).transpose()?;
    let defaults = Options {
        socket: DEFAULT_SOCKET.into(),
        state_dir: DEFAULT_STATE_DIR.into(),
        bpffs: DEFAULT_BPFFS.into(),
        max_memory: DEFAULT_MEMORY,
        config: None,
    };
    let socket = (socket != defaults.socket).then_some(socket);
    daemon::run(&Options::settle(Given { socket, state_dir, bpffs, max_memory }, config, defaults))
}

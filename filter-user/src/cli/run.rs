//! `levee run`: the daemon.

use std::path::PathBuf;

use anyhow::Result;

use super::{DEFAULT_BPFFS, DEFAULT_STATE_DIR};
use crate::daemon::{self, Options};
use crate::tables::parse_memory;

/// Run the daemon, in the foreground
///
/// It takes over what an earlier daemon left attached, with its counters and lists. When it stops, whatever is
/// attached goes on filtering. SIGINT and SIGTERM stop it, and SIGHUP where it was started on a terminal; elsewhere
/// SIGHUP changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee run
  levee run --socket /tmp/levee.sock --state-dir /tmp/levee --bpffs /sys/fs/bpf/levee-test")]
pub struct Args {
    /// Directory for sets and what is attached
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Directory of the BPF file system that programs and maps are pinned in
    #[arg(long, value_name = "DIR", default_value = DEFAULT_BPFFS, env = "LEVEE_BPFFS")]
    bpffs: PathBuf,
    /// Kernel memory that the prefix tables may take; what would take more is refused. Replacing them takes as much
    /// again, until the new ones are in force. A million single addresses take about 14 MiB
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_memory)]
    max_memory: u64,
}

pub fn run(args: Args, socket: PathBuf) -> Result<()> {
    let Args { state_dir, bpffs, max_memory } = args;
    daemon::run(&Options { socket, state_dir, bpffs, max_memory })
}

//! `levee run`: the daemon.

use std::path::PathBuf;

use anyhow::Result;

use super::{DEFAULT_BPFFS, DEFAULT_STATE_DIR};
use crate::daemon::{self, Options};

/// Run the daemon, in the foreground
///
/// It takes over what an earlier daemon left attached, with its counters and lists. When it stops, whatever is
/// attached goes on filtering.
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
    /// Room for blocked prefixes, a family (IPv4, IPv6); more room makes each miss a little slower
    #[arg(long, value_name = "N", default_value_t = 1 << 18, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    max_prefixes: u32,
    /// Room for allowed prefixes, a family
    #[arg(long, value_name = "N", default_value_t = 1 << 16, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    max_allowed: u32,
}

pub fn run(args: Args, socket: PathBuf) -> Result<()> {
    let Args { state_dir, bpffs, max_prefixes, max_allowed } = args;
    daemon::run(&Options { socket, state_dir, bpffs, max_prefixes, max_allowed })
}

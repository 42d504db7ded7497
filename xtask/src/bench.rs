//! `cargo xtask bench`: what Levee costs, beside the filters that it is compared with.

use std::process::ExitCode;

use anyhow::Result;

use crate::demo::run_release;
use crate::workspace::Workspace;

/// Measure Levee beside a bare drop, the kernel's LPM trie and hash maps, xdp-filter, nft and ipset in one run
#[derive(clap::Args)]
#[command(
    after_help = "Installs what is missing, builds, and runs in a sandbox of its own (namespaces of the kernel), which
leaves nothing behind however it ends. Needs root. Leave the machine alone meanwhile: about twenty minutes, or less than
two with --quick. The reports and plots are written to target/bench.

Examples:
  cargo xtask bench
  cargo xtask bench --quick
  cargo xtask bench -- --help       the options of the benchmark itself"
)]
pub struct Args {
    /// Passed on to the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "BENCH ARGS")]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    run_release("bench", workspace, &args.arguments)
}

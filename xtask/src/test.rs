//! `cargo xtask test`: every test of the workspace, those against the kernel included.
//!
//! Everything is compiled outside the sandbox, which has no network; the sandbox only runs it. One cargo invocation
//! compiles tests and programs alike, so that both share their dependencies and the eBPF object is built once.

use std::process::ExitCode;

use anyhow::Result;

use crate::sandbox;
use crate::workspace::{Group, Workspace, require};

/// Install what is missing, then run every test
#[derive(clap::Args)]
#[command(
    after_help = "The tests run in a sandbox of its own (namespaces of the kernel), which leaves nothing behind however it
ends. Needs root. The machine's own network is not touched.

Examples:
  cargo xtask test                                  everything
  cargo xtask test blocked_source                   the tests whose name contains this
  cargo xtask test -p filter-common                 one crate
  cargo xtask test -p filter-tests --test netns     one test program
  cargo xtask test kill_minus_nine -- --nocapture   with what the test prints"
)]
pub struct Args {
    /// Only this crate's tests (may be given more than once)
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
    /// Passed on to cargo test: a filter, its options, and after `--` those of the test programs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CARGO TEST ARGS")]
    arguments: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let packages: Vec<String> =
        args.packages.iter().flat_map(|name| ["-p".to_owned(), name.clone()]).collect();
    sandbox::require("test", &[packages.as_slice(), &args.arguments].concat())?;
    workspace.setup(&[Group::Build, Group::Run])?;

    let selected: Vec<&str> = if packages.is_empty() {
        vec!["--workspace", "--exclude", "filter-ebpf"]
    } else {
        packages.iter().map(String::as_str).collect()
    };
    // The tests of the kernel side run the controller's binary, whichever crate they are in.
    let controller: &[&str] = if packages.is_empty() { &[] } else { &["-p", "filter-user"] };
    // Not "--all-targets": benchmarks and examples are not needed here.
    let mut build = workspace.cargo(&["build"]);
    require(build.args(&selected).args(controller).args(["--bins", "--tests"]), "the build")?;

    let mut test = workspace.cargo(&["test", "--offline", "--no-fail-fast"]);
    test.args(&selected);
    // A `--` before everything else is clap's own and not among the arguments; here it is meant for cargo.
    let dashes = |argument: &String| argument == "--";
    if std::env::args().any(|argument| dashes(&argument)) && !args.arguments.iter().any(dashes) {
        test.arg("--");
    }
    sandbox::run(test.args(&args.arguments))
}

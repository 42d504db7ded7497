//! Levee's project commands, `cargo xtask <command>`.
//!
//! Decides nothing about Levee itself: it prepares the machine (`scripts/setup.sh`), builds, and runs what the other
//! crates hold, in a sandbox where that needs the kernel. One file a command. It depends on none of those crates, so
//! that it builds on a machine that has only rustup and a C compiler.

mod bench;
mod build;
mod ci;
mod demo;
mod enter;
mod lint;
mod ownership;
mod sandbox;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Levee's project commands", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(build::Args),
    Test(test::Args),
    Bench(bench::Args),
    Demo(demo::Args),
    Lint(lint::Args),
    Sandbox(enter::Args),
    Ci(ci::Args),
    /// The first process of a sandbox. Started by xtask itself.
    #[command(name = sandbox::INSIDE, hide = true)]
    Inside(sandbox::inside::Args),
    /// Can this process make a sandbox? Started by xtask itself.
    #[command(name = sandbox::PROBE, hide = true)]
    Probe,
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let code = match command {
        Command::Build(args) => build::run(&workspace, &args),
        Command::Test(args) => test::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args),
        Command::Demo(args) => demo::run(&workspace, &args),
        Command::Lint(args) => lint::run(&workspace, &args),
        Command::Sandbox(args) => enter::run(&args),
        Command::Ci(args) => ci::run(&workspace, &args),
        Command::Inside(args) => return sandbox::inside::run(&args),
        Command::Probe => return sandbox::probe_here(),
    };
    ownership::give_back(&workspace);
    code
}

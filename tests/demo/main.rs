//! `levee-demo`: a flood from blocked sources against a real server, without and with Levee.
//!
//! Decides: the exit code. 0 when the promise held, 1 when it did not or something failed, 2 for a wrong command
//! line, 128 and the signal's number when interrupted. Whatever it makes is in a sandbox that ends with the process.

mod attack;
mod children;
mod cores;
mod interrupt;
mod listen;
mod load;
mod phases;
mod progress;
mod report;
mod serve;
mod topology;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use harness::Sandbox;

use crate::cores::Cores;
use crate::interrupt::{Interrupted, Signals};
use crate::phases::{Plan, Run};
use crate::progress::Progress;
use crate::report::Report;

/// Flood a server with packets of blocked sources, without and with Levee, and show what its listeners get
///
/// Makes an attacker, a victim and a listener, each in a network namespace. The attacker floods the victim from one
/// core at full speed; the victim's stack, its HTTP server and the listeners share another. Three phases: no attack;
/// attack; attack with Levee on the victim's interface. Exit code 0 when, with Levee, not one packet of a blocked
/// source reached the stack and the listeners kept 95% of their unattacked request rate; 1 otherwise. Needs root.
#[derive(Debug, Parser)]
#[command(
    name = "levee-demo",
    args_conflicts_with_subcommands = true,
    after_help = "\
Example:
  levee-demo
  levee-demo --seconds 10 --list 1000000 --json"
)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// Seconds to measure in each phase
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Sources to block and to flood from, half IPv4 and half IPv6
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=2_000_000))]
    list: u32,
    /// Listeners, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Print JSON in place of the table
    #[arg(short, long)]
    json: bool,
}

/// What the demo starts itself as.
#[derive(Debug, Subcommand)]
enum Part {
    /// The victim's HTTP server
    #[command(hide = true)]
    Serve(serve::Args),
    /// The listeners
    #[command(hide = true)]
    Listen(listen::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.part {
        Some(Part::Serve(args)) => serve::run(args).map(|()| true),
        Some(Part::Listen(args)) => listen::run(args).map(|()| true),
        None => demo(&cli),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("levee-demo: {error:#}");
            let interrupted = error.downcast_ref::<Interrupted>();
            ExitCode::from(interrupted.map_or(1, |interrupted| interrupted.exit_code()))
        }
    }
}

/// Runs the demo; whether the promise held.
fn demo(cli: &Cli) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and loads eBPF programs, which only root may: \
             run `sudo -E env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask demo`"
        );
    }
    let signals = Signals::watch()?;
    let cores = Cores::choose()?;
    let plan = Plan { seconds: cli.seconds, list: cli.list, clients: usize::from(cli.clients) };
    let sandbox = Sandbox::enter("demo")?;
    let progress = Progress::new();
    let run = Run { sandbox: &sandbox, plan: &plan, cores, signals: &signals, progress: &progress };
    let phases = run.all()?;
    let report = Report::new(plan, cores, phases);
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{}", report.text());
    }
    Ok(report.held())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example"), "{help}");
        assert!(!help.contains("Commands:"), "what the demo starts itself as is not for users: {help}");
    }
}

//! `levee allow`: sources, or destinations, that always pass.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::Outcome;
use super::entries::{self, AddArgs, DelArgs};
use crate::api::client::Client;
use crate::api::types::Action;

/// Allow sources or destinations, whatever the block lists say
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee allow add 198.51.100.10 --reason monitoring")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Target {
    /// Packets to these addresses, in place of packets from them
    #[arg(long)]
    destination: bool,
    /// The set [default: allow, or allow-dst with --destination]
    #[arg(long, value_name = "NAME", value_parser = super::set_name)]
    set: Option<String>,
}

impl Target {
    fn resolve(self) -> (String, Action) {
        let (default, action) =
            if self.destination { ("allow-dst", Action::AllowDestination) } else { ("allow", Action::Allow) };
        (self.set.unwrap_or_else(|| default.to_owned()), action)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pass packets from these sources, or to these destinations
    #[command(after_help = "\
Example:
  levee allow add 198.51.100.10 --reason monitoring
  levee allow add 192.0.2.53 --destination")]
    Add {
        #[command(flatten)]
        add: AddArgs,
        #[command(flatten)]
        target: Target,
    },
    /// Remove exactly these prefixes from a set
    #[command(after_help = "\
Example:
  levee allow del 198.51.100.10")]
    Del {
        #[command(flatten)]
        del: DelArgs,
        #[command(flatten)]
        target: Target,
    },
    /// List what is allowed, why, and until when
    #[command(after_help = "\
Example:
  levee allow list")]
    List {
        /// Destinations only
        #[arg(long)]
        destination: bool,
        /// One set only
        #[arg(long, value_name = "NAME", value_parser = super::set_name)]
        set: Option<String>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    match args.command {
        Command::Add { add, target } => {
            let (set, action) = target.resolve();
            entries::add(add, &set, action, false, client, out).await
        }
        Command::Del { del, target } => {
            let (set, action) = target.resolve();
            entries::del(&del, &set, action, client, out).await
        }
        Command::List { destination, set, json } => {
            let both = [Action::AllowDestination, Action::Allow];
            let actions = if destination { &both[..1] } else { &both[..] };
            entries::list(actions, set.as_deref(), json, client, out).await
        }
    }
}

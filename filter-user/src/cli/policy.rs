//! `levee policy`: the policy in force, and those that were before it.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::{Outcome, table};
use crate::api::client::Client;
use crate::api::types::{PolicyList, PolicyText};

/// Show the policy in force, and those before it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee policy show > policy.toml
  levee policy list")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the policy in force, as it was applied
    #[command(after_help = "Example:\n  levee policy show > policy.toml")]
    Show {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// List the policies that were in force and are kept, the oldest first
    #[command(after_help = "Example:\n  levee policy list")]
    List {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    match args.command {
        Command::Show { json } => {
            let policy: PolicyText = client.get("/v1/policy").await?;
            if json {
                table::json(out, &policy)?;
            } else if policy.policy.is_none() {
                writeln!(std::io::stderr(), "no policy is in force")?;
            } else {
                out.write_all(policy.text.as_bytes())?;
            }
        }
        Command::List { json } => {
            let list: PolicyList = client.get("/v1/policy/history").await?;
            if json { table::json(out, &list)? } else { out.write_all(text(&list).as_bytes())? }
        }
    }
    Ok(Outcome::Done)
}

fn text(list: &PolicyList) -> String {
    if list.policies.is_empty() {
        return "no policy was applied yet; `levee apply FILE` does\n".to_owned();
    }
    let back = list.policies.iter().rev().skip_while(|policy| !policy.in_force).count();
    let rows = list.policies.iter().enumerate().map(|(place, policy)| {
        let state = match (policy.in_force, policy.confirm_until) {
            (true, None) => "in force".to_owned(),
            (true, Some(until)) => format!("on trial until {until}"),
            (false, _) => {
                back.checked_sub(place + 1).map_or_else(String::new, |steps| format!("rollback {steps}"))
            }
        };
        vec![
            policy.number.to_string(),
            policy.applied.to_string(),
            policy.by.clone(),
            policy.file.clone(),
            state,
        ]
    });
    table::aligned(&[">POLICY", "APPLIED", "BY", "FILE", "STATE"], rows)
}

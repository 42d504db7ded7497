//! `levee apply`: puts a policy in force.

use std::io::Write;

use anyhow::Result;

use super::{Outcome, Refusal, policy_file, table};
use crate::api::client::Client;
use crate::api::types::{Applied, ApplyRequest, PolicyEntry, Span};

/// Put a policy in force
///
/// In one step for the packets of each interface: they meet the old policy or the new one. With --confirm the new one is on
/// trial: unless `levee confirm` comes in time, the old one is in force again, also when the daemon has died meanwhile. A
/// policy that would cut off SSH sessions, protected prefixes or everybody is refused without --confirm or --force.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee check policy.toml && levee diff policy.toml
  levee apply policy.toml --confirm 60s
  levee confirm

The policy's language is described in POLICY.md, and COOKBOOK.md has policies to begin with.")]
pub struct Args {
    /// The policy, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Go back by itself unless `levee confirm` comes within this time, 1s to 24h; 60s when none is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s")]
    confirm: Option<Span>,
    /// Also where it would cut off who must stay reachable
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { file, confirm, force, json } = args;
    let (policy, checked) = policy_file::read(&file)?;
    policy_file::warn(&checked.warnings);
    let request = ApplyRequest { file, policy, confirm, force };
    let applied: Applied = client
        .post("/v1/policy/apply", &request)
        .await
        .map_err(|error| Refusal::from_client(error, |_| None))?;
    if json {
        table::json(out, &applied)?;
        return Ok(Outcome::Done);
    }
    told(&applied, checked.warnings.len(), out)?;
    Ok(Outcome::Done)
}

/// Says which policy is in force now, and whom it cuts off; warnings about its text were drawn before.
pub fn told(applied: &Applied, drawn: usize, out: &mut impl Write) -> Result<()> {
    for warning in applied.warnings.iter().skip(drawn) {
        writeln!(std::io::stderr(), "note: {warning}")?;
    }
    match &applied.policy {
        None => writeln!(out, "no policy is in force")?,
        Some(policy) => writeln!(out, "{}", in_words(policy))?,
    }
    Ok(())
}

fn in_words(policy: &PolicyEntry) -> String {
    let PolicyEntry { number, file, confirm_until, .. } = policy;
    match confirm_until {
        None => format!("policy {number} ({file}) is in force"),
        Some(until) => format!(
            "policy {number} ({file}) is in force until {until}, and for good with `levee confirm`; `levee rollback` gives it up now"
        ),
    }
}

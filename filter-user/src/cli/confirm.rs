//! `levee confirm`: keeps the policy that is on trial.

use std::io::Write;

use anyhow::Result;

use super::apply::told;
use super::{Outcome, Refusal, table};
use crate::api::client::Client;
use crate::api::types::Applied;

/// Keep the policy that was applied with --confirm
///
/// After its time it has gone back already, and this says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee apply policy.toml --confirm 60s
  levee confirm")]
pub struct Args {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let applied = client.post::<_, Applied>("/v1/policy/confirm", &serde_json::json!({})).await;
    let applied = applied.map_err(|error| Refusal::from_client(error, |_| None))?;
    if args.json {
        table::json(out, &applied)?;
    } else {
        told(&applied, 0, out)?;
    }
    Ok(Outcome::Done)
}

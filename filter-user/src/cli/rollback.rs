//! `levee rollback`: gives up the policy on trial, or goes back to one that was in force before.

use std::io::Write;

use anyhow::Result;

use super::apply::told;
use super::{Outcome, Refusal, table};
use crate::api::client::Client;
use crate::api::types::{Applied, RollbackRequest, Span};

/// Go back to a policy that was in force before
///
/// While a policy waits to be confirmed, it is given up. Else the policy that was in force N policies before the one that is
/// now comes into force as a new one, so that going back can be gone back on, too. `levee policy list` shows those that are
/// kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee rollback
  levee rollback 3 --confirm 60s")]
pub struct Args {
    /// How many policies to go back; one when not given
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Go forward again unless `levee confirm` comes within this time, 1s to 24h; 60s when none is given
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
    let Args { steps, confirm, force, json } = args;
    let request = RollbackRequest { steps, confirm, force };
    let applied = client.post::<_, Applied>("/v1/policy/rollback", &request).await;
    let applied = applied.map_err(|error| Refusal::from_client(error, |_| None))?;
    if json {
        table::json(out, &applied)?;
    } else {
        told(&applied, 0, out)?;
    }
    Ok(Outcome::Done)
}

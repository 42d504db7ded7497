//! `levee confirm`: keeps the policy that is on trial.

use std::io::Write;

use anyhow::Result;

use super::apply::told;
use super::{Outcome, Refusal, table};
use crate::api::client::Client;
use crate::api::types::{Applied, ConfirmRequest};

/// Keep the policy that was applied with --confirm
///
/// After its time it has gone back already, and this says so. A policy that cuts off the SSH session that this is typed in is kept only
/// by force: that the command arrived does not say that the session goes on, since some packets of sessions that a
/// policy on trial cuts off get through.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee apply policy.toml --confirm 60s
  levee confirm")]
pub struct Args {
    /// Also where it cuts off the SSH session that this is typed in
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { force, json } = args;
    let applied = client.post::<_, Applied>("/v1/policy/confirm", &ConfirmRequest { force }).await;
    let applied = applied.map_err(|error| Refusal::from_client(error, |_| None))?;
    if json {
        table::json(out, &applied)?;
    } else {
        told(&applied, 0, out)?;
    }
    Ok(Outcome::Done)
}

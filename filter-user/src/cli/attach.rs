//! `levee attach`: puts the filter on interfaces, on all of them or on none.

use std::io::Write;

use anyhow::Result;

use super::{Outcome, Refusal};
use crate::api::client::Client;
use crate::api::types::{AttachRequest, Attached, Check, Fragments, Mode};

/// Put the filter on interfaces
///
/// The program stays there until `levee detach`, also when the daemon stops or is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee attach eth0 eth1
  levee attach eth0 --mode generic --skip-check bogon-source --fragments drop")]
pub struct Args {
    /// Interfaces
    #[arg(required = true, value_name = "IFACE")]
    interfaces: Vec<String>,
    /// The only mode that is accepted; there is no fall-back to another
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Checks to leave out of the program
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK")]
    skip_check: Vec<Check>,
    /// What happens to later fragments that no list decides about
    #[arg(long, value_enum, default_value_t)]
    fragments: Fragments,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { interfaces, mode, skip_check, fragments } = args;
    let request = AttachRequest { interfaces, mode, skip_checks: skip_check, fragments };
    let attached: Attached =
        client.post("/v1/attach", &request).await.map_err(|error| Refusal::from_client(error, |_| None))?;
    for interface in attached.interfaces {
        let how = if interface.changed { "attached" } else { "already attached" };
        let mode = interface.mode.map_or("mode unknown", Mode::name);
        let program = interface.program_id.map_or_else(String::new, |id| format!(", program {id}"));
        writeln!(out, "{}: {how} ({mode}{program})", interface.name)?;
    }
    Ok(Outcome::Done)
}

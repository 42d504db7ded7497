//! `levee bans`: sources that rules have banned, and the end of their bans by hand.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::render::grouped;
use super::{Outcome, Refusal, table};
use crate::api::client::Client;
use crate::api::types::{BanList, LiftRequest, Lifted};

/// List the sources that `ban` rules have banned, and until when
///
/// The one whose ban ends soonest goes first; bans that are over are not listed. A source that is banned sends nothing that
/// passes, unless it is on an allow list.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Example:
  levee bans
  levee bans -j | jq -r '.bans[].address'
  levee bans lift 203.0.113.7"
)]
pub struct Args {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End bans now
    ///
    /// What such a source sends meets the rules again, and may be banned anew by the next packet: `levee allow add` lets it in
    /// for good. That an address is not banned is told, and is no failure.
    #[command(after_help = "\
Example:
  levee bans lift 203.0.113.7 2001:db8::7
  levee bans lift --all")]
    Lift {
        /// Addresses
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ADDRESS")]
        addresses: Vec<String>,
        /// Every ban that there is
        #[arg(long)]
        all: bool,
    },
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    match args.command {
        None => {
            let list: BanList = client.get("/v1/bans").await?;
            if args.json { table::json(out, &list)? } else { out.write_all(text(&list).as_bytes())? }
        }
        Some(Command::Lift { addresses, all }) => {
            let request = LiftRequest { addresses, all };
            let lifted: Lifted = client
                .post("/v1/bans/lift", &request)
                .await
                .map_err(|error| Refusal::from_client(error, |_| None))?;
            out.write_all(outcome(&lifted, all).as_bytes())?;
        }
    }
    Ok(Outcome::Done)
}

fn text(list: &BanList) -> String {
    if list.bans.is_empty() {
        return "no source is banned\n".to_owned();
    }
    let note = if list.enforced {
        ""
    } else {
        "the policy in force has no `ban` rule, so it does not look at these:\n"
    };
    let rows = list.bans.iter().map(|ban| vec![ban.address.to_string(), ban.until.to_string()]);
    note.to_owned() + &table::aligned(&["SOURCE", "BANNED UNTIL"], rows)
}

/// Sources that are told one by one, where all were meant.
const LISTED: usize = 20;

fn outcome(lifted: &Lifted, all: bool) -> String {
    if lifted.addresses.is_empty() {
        return "no source is banned\n".to_owned();
    }
    let shown = if all { LISTED } else { usize::MAX };
    let mut text = String::new();
    for ban in lifted.addresses.iter().take(shown) {
        let outcome = if ban.lifted { "ban lifted" } else { "not banned" };
        text += &format!("{}: {outcome}\n", ban.address);
    }
    if lifted.addresses.len() > shown {
        text += &format!("... and {} more\n", grouped((lifted.addresses.len() - shown) as u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::api::types::{LiftedBan, SCHEMA};

    #[test]
    fn who_was_not_banned_is_told() {
        let of = |address: &str, lifted| LiftedBan { address: address.parse::<IpAddr>().unwrap(), lifted };
        let addresses = vec![of("192.0.2.1", true), of("2001:db8::1", false)];
        let lifted = Lifted { schema: SCHEMA, lifted: 1, addresses };
        assert_eq!(outcome(&lifted, false), "192.0.2.1: ban lifted\n2001:db8::1: not banned\n");
    }
}

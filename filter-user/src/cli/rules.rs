//! `levee rules`: the rules of the policy in force, with what they counted.

use std::io::Write;

use anyhow::Result;

use super::render::{grouped, on_one_line, scaled};
use super::{Outcome, table};
use crate::api::client::Client;
use crate::api::types::RuleList;

/// Show the rules of the policy in force, with packets, bytes and the time of the last hit
///
/// A rule counts the packets that it decides about or counts: a limit those that are over it. In mode `count` a rule counts
/// what it would have done.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee rules
  levee rules -j | jq '.rules[] | select(.packets > 0) | .name'")]
pub struct Args {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let rules: RuleList = client.get("/v1/rules").await?;
    if args.json {
        table::json(out, &rules)?;
    } else {
        out.write_all(text(&rules).as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn text(list: &RuleList) -> String {
    let Some(policy) = list.policy else {
        return "no policy is in force; `levee apply FILE` puts one in force\n".to_owned();
    };
    let head = format!("policy {policy}, default {}\n", list.default);
    if list.rules.is_empty() {
        return head + "no rules\n";
    }
    let rows = list.rules.iter().map(|rule| {
        let last = rule.last_hit.map_or_else(|| "-".to_owned(), |last| last.to_string());
        vec![
            rule.name.clone(),
            grouped(rule.count.packets),
            scaled(rule.count.bytes, "B"),
            last,
            on_one_line(&rule.rule),
        ]
    });
    head + &table::aligned(&["NAME", ">PACKETS", ">BYTES", "LAST HIT", "RULE"], rows)
}

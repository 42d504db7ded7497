//! `levee diff`: what a policy would change of the one in force.
//!
//! Both are written in the same way first, so what differs only in spelling does not differ here.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::{Outcome, policy_file, table};
use crate::api::client::Client;
use crate::api::types::{PolicyText, SCHEMA};
use crate::policy::{Policy, canonical};

/// Lines of both around what differs.
const CONTEXT: usize = 2;

/// Show what a policy would change of the one in force
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee diff policy.toml
  levee diff policy.toml -j | jq '.added, .removed'")]
pub struct Args {
    /// The policy, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// What differs.
#[derive(Debug, Serialize)]
struct Difference {
    /// Version of this document's shape.
    schema: u32,
    /// The policy in force; none where there is none.
    policy: Option<u32>,
    /// Lines that come, in order.
    added: Vec<String>,
    /// Lines that go, in order.
    removed: Vec<String>,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let (_, checked) = policy_file::read(&args.file)?;
    let in_force: PolicyText = client.get("/v1/policy").await?;
    let now = Policy::parse("the policy in force", &in_force.text);
    let now = now.map_err(|errors| policy_file::refused("the policy in force", &errors))?;
    let (old, new) = (canonical(&now.policy), canonical(&checked.policy));
    let number = in_force.policy.map(|policy| policy.number);
    if args.json {
        table::json(out, &difference(&old, &new, number))?;
    } else {
        out.write_all(text(&old, &new, number, &args.file).as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn diff<'a>(old: &'a [String], new: &'a [String]) -> TextDiff<'a, 'a, str> {
    let lines = |policy: &'a [String]| policy.iter().map(String::as_str).collect::<Vec<_>>();
    TextDiff::from_slices(&lines(old), &lines(new))
}

fn difference(old: &[String], new: &[String], policy: Option<u32>) -> Difference {
    let lines = |tag| {
        let diff = diff(old, new);
        let of = diff.iter_all_changes().filter(|change| change.tag() == tag);
        of.map(|change| change.value().to_owned()).collect()
    };
    Difference { schema: SCHEMA, policy, added: lines(ChangeTag::Insert), removed: lines(ChangeTag::Delete) }
}

fn text(old: &[String], new: &[String], policy: Option<u32>, file: &str) -> String {
    if old == new {
        return "no difference\n".to_owned();
    }
    let now = policy.map_or_else(|| "no policy".to_owned(), |number| format!("policy {number}, in force"));
    let mut text = format!("--- {now}\n+++ {file}\n");
    let (red, green) = (anstyle::AnsiColor::Red.on_default(), anstyle::AnsiColor::Green.on_default());
    let diff = diff(old, new);
    for (place, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if place > 0 {
            text += "...\n";
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let line = change.value();
            match change.tag() {
                ChangeTag::Equal => text += &format!("  {line}\n"),
                ChangeTag::Delete => text += &format!("{red}- {line}{red:#}\n"),
                ChangeTag::Insert => text += &format!("{green}+ {line}{green:#}\n"),
            }
        }
    }
    text
}

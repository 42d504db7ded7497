//! `levee set change`: lists of what enters and what leaves a set, as one change.
//!
//! The lists are read here and not by the daemon, so an error names file, line and column before anything is sent.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::render::grouped;
use super::set::SetAction;
use super::{Outcome, Refusal, Usage};
use crate::api::client::Client;
use crate::api::server::MAX_LIST_BYTES;
use crate::api::types::{ChangeRequest, PrefixList, SetChanged, Span};
use crate::feeds::{ParseOptions, parse_list};

#[derive(Debug, clap::Args)]
#[group(id = "lists", multiple = true, required = true, args = ["add_from", "remove_from"])]
pub struct Args {
    /// The set; made when there is none of that name and something is added
    #[arg(value_parser = super::set_name)]
    name: String,
    /// List of what to add, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    add_from: Option<String>,
    /// List of what to remove, or `-` for standard input: exactly these prefixes, not what they cover
    #[arg(long, value_name = "FILE")]
    remove_from: Option<String>,
    #[command(flatten)]
    action: SetAction,
    /// For how long what is added stays, such as 1h or 7d; without end when not given. The daemon ends it: while it is
    /// dead, entries stay
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Why; kept with what is added
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Block also who must stay reachable: this host's own addresses, its default gateways, the far ends of SSH sessions,
    /// prefixes that are broader than any network has. Without it such a list is refused
    #[arg(long)]
    force: bool,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { name, add_from, remove_from, action, ttl, reason, force } = args;
    if add_from.as_deref() == Some("-") && remove_from.as_deref() == Some("-") {
        return Err(
            Usage::new("standard input can be one of the lists only; name a file for the other").into()
        );
    }
    let action = action.action()?;
    let (add, remove) = (list(add_from.as_deref())?, list(remove_from.as_deref())?);
    if add.prefixes().is_empty() && remove.prefixes().is_empty() {
        writeln!(out, "{name}: nothing to change, as the lists are empty")?;
        return Ok(Outcome::Done);
    }
    let request = ChangeRequest { action, add, remove, ttl, reason, force };
    let changed = client.change(&name, &request).await;
    let changed = changed.map_err(|error| Refusal::from_client(error, |_| None))?;
    writeln!(out, "{}", summary(&changed))?;
    Ok(Outcome::Done)
}

/// The prefixes of a list. One side of a difference may be empty.
fn list(file: Option<&str>) -> Result<PrefixList> {
    let reader: Box<dyn Read> = match file {
        None => return Ok(PrefixList::default()),
        Some("-") => Box::new(std::io::stdin().lock()),
        Some(path) => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    let name = file.unwrap_or_default();
    if Path::new(name).is_dir() {
        bail!("{name} is a directory; expected a list of prefixes");
    }
    let options = ParseOptions { allow_empty: true, max_bytes: MAX_LIST_BYTES, ..ParseOptions::default() };
    let list = parse_list(reader, name, options).map_err(Refusal::of_list)?;
    Ok(list.prefixes.into())
}

fn summary(changed: &SetChanged) -> String {
    let mut parts = Vec::new();
    for (count, what) in [
        (changed.added, "added"),
        (changed.updated, "already there and renewed"),
        (changed.removed, "removed"),
        (changed.unchanged, "as asked already"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    format!("{} ({}): {}", changed.set, changed.action.name(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Action, SCHEMA};

    #[test]
    fn the_summary_of_a_change_leaves_out_what_is_zero() {
        let set = "ipsum".to_owned();
        let changed = SetChanged {
            schema: SCHEMA,
            set,
            action: Action::Block,
            added: 1_200,
            updated: 0,
            removed: 7,
            unchanged: 1,
        };
        assert_eq!(summary(&changed), "ipsum (block): 1,200 added, 7 removed, 1 as asked already");
    }
}

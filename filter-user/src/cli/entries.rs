//! Adding, deleting and listing prefixes: what `levee block` and `levee allow` share.

use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;

use super::render::{grouped, prefix, truncated};
use super::{Outcome, Refusal, input, table};
use crate::api::client::{Client, encode};
use crate::api::types::{
    Action, AddRequest, Change, ChangeOutcome, Changed, RemoveRequest, SCHEMA, SetEntries, SetList, Span,
};

/// Prefixes to add, and their provenance.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Addresses or prefixes, or `-` to read them from standard input, one a line
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// For how long, such as 90s, 1h or 7d; without end when not given. The daemon ends it: while it is
    /// dead, entries stay
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Why; kept with the entry
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Prefixes to delete.
#[derive(Debug, clap::Args)]
pub struct DelArgs {
    /// Addresses or prefixes, or `-` to read them from standard input, one a line
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,
}

pub async fn add(
    args: AddArgs,
    set: &str,
    action: Action,
    force: bool,
    client: &Client,
    out: &mut impl Write,
) -> Result<Outcome> {
    let AddArgs { prefixes, ttl, reason } = args;
    let inputs = input::prefixes(&prefixes)?;
    let request = AddRequest { action, prefixes: inputs.texts.clone(), ttl, reason, force };
    change(&format!("/v1/sets/{}/add", encode(set)), &request, &inputs, client, out).await
}

pub async fn del(
    args: &DelArgs,
    set: &str,
    action: Action,
    client: &Client,
    out: &mut impl Write,
) -> Result<Outcome> {
    let inputs = input::prefixes(&args.prefixes)?;
    let request = RemoveRequest { action: Some(action), prefixes: inputs.texts.clone() };
    change(&format!("/v1/sets/{}/remove", encode(set)), &request, &inputs, client, out).await
}

async fn change(
    path: &str,
    request: &(impl Serialize + Sync),
    inputs: &input::Inputs,
    client: &Client,
    out: &mut impl Write,
) -> Result<Outcome> {
    let changed: Changed = client
        .post(path, request)
        .await
        .map_err(|error| Refusal::from_client(error, |index| inputs.place(index)))?;
    out.write_all(summary(&changed).as_bytes())?;
    Ok(Outcome::Done)
}

/// Changes that are listed one by one.
const LISTED: usize = 20;

fn summary(changed: &Changed) -> String {
    let mut text = String::new();
    for Change { prefix: changed, outcome } in changed.changes.iter().take(LISTED) {
        let outcome = match outcome {
            ChangeOutcome::Added => "added",
            ChangeOutcome::Updated => "already there, renewed",
            ChangeOutcome::AlreadyPresent => "already there",
            ChangeOutcome::Removed => "deleted",
            ChangeOutcome::NotPresent => "not there",
        };
        text += &format!("{}: {outcome}\n", prefix(changed));
    }
    if changed.changes.len() > LISTED {
        text += &format!("... and {} more\n", grouped((changed.changes.len() - LISTED) as u64));
    }
    if changed.changes.len() > 1 {
        let removing = changed
            .changes
            .iter()
            .any(|change| matches!(change.outcome, ChangeOutcome::Removed | ChangeOutcome::NotPresent));
        let counts = if removing {
            format!("{} deleted, {} not there", grouped(changed.removed), grouped(changed.unchanged))
        } else {
            let renewed = match changed.updated {
                0 => String::new(),
                updated => format!(", {} renewed", grouped(updated)),
            };
            format!("{} added, {} already there{renewed}", grouped(changed.added), grouped(changed.unchanged))
        };
        text += &format!("{} ({}): {counts}\n", changed.set, changed.action.name());
    }
    text
}

/// The entries of several sets, as `list -j` prints them.
#[derive(Serialize)]
struct Listing {
    schema: u32,
    sets: Vec<SetEntries>,
}

pub async fn list(
    actions: &[Action],
    only: Option<&str>,
    json: bool,
    client: &Client,
    out: &mut impl Write,
) -> Result<Outcome> {
    let known: SetList = client.get("/v1/sets").await?;
    let mut names = Vec::new();
    match only {
        Some(name) => match known.sets.iter().find(|set| set.name == name) {
            Some(set) if actions.contains(&set.action) => names.push(name),
            Some(set) => {
                bail!("the set `{name}` has the action {}: `levee set list` shows it", set.action.name())
            }
            None if actions.iter().any(|action| action.default_set() == name) => {}
            None => bail!("there is no set `{name}`; `levee set list` shows those there are"),
        },
        None => names.extend(
            known.sets.iter().filter(|set| actions.contains(&set.action)).map(|set| set.name.as_str()),
        ),
    }
    let mut listing = Listing { schema: SCHEMA, sets: Vec::new() };
    for name in names {
        listing.sets.push(client.get(&format!("/v1/sets/{}", encode(name))).await?);
    }
    if json {
        table::json(out, &listing)?;
    } else {
        write_listing(&listing, out)?;
    }
    Ok(Outcome::Done)
}

/// Aligned by hand in two passes: a list may have a million lines, and a table would hold every cell twice.
fn write_listing(listing: &Listing, out: &mut impl Write) -> Result<()> {
    let rows = || listing.sets.iter().flat_map(|set| set.entries.iter().map(move |entry| (set, entry)));
    let width = rows().map(|(_, entry)| prefix(&entry.prefix).len()).max().unwrap_or(0).max(6);
    let set_width = listing.sets.iter().map(|set| set.name.len()).max().unwrap_or(0).max(3);
    if rows().next().is_none() {
        writeln!(out, "no entries")?;
        return Ok(());
    }
    let (added, expires) = ("ADDED", "EXPIRES");
    writeln!(out, "{:width$}  {:set_width$}  {added:20}  {expires:20}  BY, REASON", "PREFIX", "SET")?;
    for (set, entry) in rows() {
        let expires = entry.expires.map_or_else(|| "never".to_owned(), |time| time.to_string());
        let reason =
            entry.reason.as_deref().map_or_else(String::new, |text| format!(": {}", truncated(text)));
        writeln!(
            out,
            "{:width$}  {:set_width$}  {:20}  {expires:20}  {}{reason}",
            prefix(&entry.prefix),
            set.name,
            entry.added.to_string(),
            entry.by,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_already_is_said_and_counted() {
        let change = |prefix: &str, outcome| Change { prefix: prefix.parse().unwrap(), outcome };
        let changed = Changed {
            schema: SCHEMA,
            set: "block".to_owned(),
            action: Action::Block,
            added: 1,
            updated: 0,
            removed: 0,
            unchanged: 1,
            changes: vec![
                change("203.0.113.0/24", ChangeOutcome::Added),
                change("192.0.2.1/32", ChangeOutcome::AlreadyPresent),
            ],
        };
        let expected =
            "203.0.113.0/24: added\n192.0.2.1: already there\nblock (block): 1 added, 1 already there\n";
        assert_eq!(summary(&changed), expected);
    }
}

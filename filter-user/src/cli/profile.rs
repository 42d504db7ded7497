//! `levee profile`: the policies for one kind of flood each that come with Levee. Needs neither daemon nor root.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::{Outcome, table};
use crate::api::types::SCHEMA;
use crate::policy::profiles::{Profile, Words, profile, profiles};

/// Show the profiles that come with Levee, which policies take in by name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee profile list
  levee profile show syn
  echo 'profiles = [\"syn\", \"icmp\"]' > policy.toml && levee apply policy.toml --confirm 60s")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the profiles
    #[command(after_help = "Example:\n  levee profile list -j | jq '.profiles[].name'")]
    List {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Print a profile: what it stops, by which rules, and which ordinary packets it can hit
    #[command(after_help = "Example:\n  levee profile show syn\n  levee profile show syn -j | jq '.rules[]'")]
    Show {
        /// Its name
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(crate::policy::profiles::NAMES))]
        name: String,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

/// Every profile.
#[derive(Debug, Serialize)]
struct List {
    /// Version of this document's shape.
    schema: u32,
    profiles: Vec<Summary>,
}

#[derive(Debug, Serialize)]
struct Summary {
    name: &'static str,
    summary: &'static str,
    rules: usize,
}

/// One profile.
#[derive(Debug, Serialize)]
struct Shown {
    /// Version of this document's shape.
    schema: u32,
    name: &'static str,
    summary: &'static str,
    /// What it stops.
    stops: &'static str,
    /// By which means it tells that from other packets.
    means: &'static str,
    /// Which ordinary packets it can hit.
    hits: &'static str,
    costs: &'static str,
    rules: Vec<ShownRule>,
}

#[derive(Debug, Serialize)]
struct ShownRule {
    /// As `levee rules` names it.
    name: String,
    rule: String,
    about: &'static str,
}

pub fn run(args: &Args, out: &mut impl Write) -> Result<Outcome> {
    match &args.command {
        Command::List { json } => list(*json, out)?,
        Command::Show { name, json } => {
            // The parser of arguments has seen to it that there is one.
            let Some(profile) = profile(name) else { return Ok(Outcome::No) };
            if *json { table::json(out, &shown(profile))? } else { out.write_all(profile.text.as_bytes())? }
        }
    }
    Ok(Outcome::Done)
}

fn list(json: bool, out: &mut impl Write) -> Result<()> {
    let of = |Profile { name, words, rules, .. }: &'static Profile| Summary {
        name,
        summary: &words.summary,
        rules: rules.len(),
    };
    let profiles: Vec<Summary> = profiles()?.iter().map(of).collect();
    if json {
        return table::json(out, &List { schema: SCHEMA, profiles });
    }
    let row = |it: Summary| vec![it.name.to_owned(), it.rules.to_string(), it.summary.to_owned()];
    let text = table::aligned(&["PROFILE", ">RULES", "AGAINST"], profiles.into_iter().map(row));
    Ok(out.write_all(text.as_bytes())?)
}

fn shown(profile: &'static Profile) -> Shown {
    let Words { summary, stops, means, hits, costs } = &profile.words;
    let rules = profile.rules.iter().map(|it| ShownRule {
        name: format!("{}/{}", profile.name, it.name),
        rule: it.rule.to_string(),
        about: &it.about,
    });
    Shown { schema: SCHEMA, name: profile.name, summary, stops, means, hits, costs, rules: rules.collect() }
}

//! `levee check`: what is in lists, and what they would take, without a daemon; and whether policies can be used.
//!
//! Lists are read as an import reads them; each bad line is named, as whoever repairs a list wants to see them all.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde::Serialize;

use super::render::{grouped, size};
use super::set::open;
use super::{Outcome, Refusal, Usage, check_policy, policy_file, table};
use crate::api::client::Client;
use crate::api::server::MAX_LIST_BYTES;
use crate::api::types::SCHEMA;
use crate::feeds::{ParseOptions, ParsedList, parse_list};
use crate::tables::{Contents, MAX_SET, SetId, TableKind, footprint, set_entries};

/// Check lists or policies: what is in them, the kernel memory that they take, whom a policy would cut off
///
/// Files whose names end in `.toml` are policies, all others are lists. Lists are checked without a daemon; of a policy the
/// daemon, if one answers, tells more: what its rules make of the sets that there are, and whom it would cut off.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee check ipsum.txt drop.txt.gz
  levee check policy.toml
  curl -s https://example.org/list.gz | levee check - -j

Exit codes: 0 all of them are good, 1 one cannot be read, has a bad line or an error.
Bad lines are named by file, line and column, the first 100 of each list.")]
pub struct Args {
    /// A list, in any format that `levee set import` takes, or `-` for one on standard input; or a policy
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl Args {
    /// Whether any of the files is a policy.
    pub fn has_policies(&self) -> bool {
        self.files.iter().any(|file| policy_file::is_policy(file))
    }

    /// Checks policies, which all of the files have to be.
    pub async fn policies(&self, client: &Client, out: &mut impl Write) -> Result<Outcome> {
        if !self.files.iter().all(|file| policy_file::is_policy(file)) {
            return Err(Usage::new("lists and policies (`.toml`) are checked apart").into());
        }
        check_policy::run(&self.files, self.json, client, out).await
    }
}

/// What is in every list, and in all of them together.
#[derive(Debug, Serialize)]
struct Checked {
    /// Version of this document's shape.
    schema: u32,
    /// In the order of the command line.
    lists: Vec<List>,
    /// As one list.
    total: Figures,
}

#[derive(Debug, Serialize)]
struct List {
    /// The file, or `-`.
    source: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Figures {
    /// Lines of any kind.
    lines: u64,
    /// Addresses, prefixes and ranges.
    entries: u64,
    /// Distinct IPv4 prefixes; a range is as many as cover it.
    ipv4: u64,
    /// Distinct IPv6 prefixes.
    ipv6: u64,
    /// Prefixes that were there already.
    duplicates: u64,
    /// Bytes of the kernel that tables take that block just these, in a set for each list.
    memory: u64,
}

pub fn run(args: &Args, out: &mut impl Write) -> Result<Outcome> {
    let mut lists = Vec::new();
    let mut problems = Vec::new();
    for file in &args.files {
        match read(file) {
            Ok(list) => {
                problems.extend(list.bad.iter().map(ToString::to_string));
                let more = list.bad_total - list.bad.len() as u64;
                if more > 0 {
                    problems.push(format!("{file}: ... and {} more", grouped(more)));
                }
                lists.push(list);
            }
            // One that cannot be read says nothing about its lines.
            Err(error) if args.files.len() == 1 => return Err(error),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    if !problems.is_empty() {
        let message = match (args.files.len(), lists.first().map_or(0, |list| list.bad_total)) {
            (1, 1) => "a line of the list is bad".to_owned(),
            (1, bad) => format!("{} lines of the list are bad", grouped(bad)),
            (count, _) => format!("not all of the {count} lists are good"),
        };
        return Err(Refusal { message, problems, may_have_changed: false }.into());
    }
    let checked = figures(&args.files, &lists)?;
    if args.json {
        table::json(out, &checked)?;
    } else {
        out.write_all(text(&checked).as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// The list, with its bad lines.
fn read(file: &str) -> Result<ParsedList> {
    let reader: Box<dyn Read> =
        if file == "-" { Box::new(std::io::stdin().lock()) } else { Box::new(open(Path::new(file))?.0) };
    let options = ParseOptions { skip_bad: true, max_bytes: MAX_LIST_BYTES, ..ParseOptions::default() };
    Ok(parse_list(reader, file, options)?)
}

fn figures(files: &[String], lists: &[ParsedList]) -> Result<Checked> {
    let each = files.iter().zip(lists).map(|(file, list)| {
        let memory = memory(file, list.prefixes.iter().map(|prefix| (*prefix, 1)))?;
        let figures = Figures {
            lines: list.lines,
            entries: list.entries,
            ipv4: list.v4 as u64,
            ipv6: list.v6 as u64,
            duplicates: list.duplicates as u64,
            memory,
        };
        Ok(List { source: file.clone(), figures })
    });
    let each = each.collect::<Result<Vec<_>>>()?;
    let sum = |of: fn(&Figures) -> u64| each.iter().map(|list| of(&list.figures)).sum::<u64>();

    // More lists than there are set numbers share the last.
    let sets = (1..=MAX_SET).chain(std::iter::repeat(MAX_SET));
    let all = sets.zip(lists).flat_map(|(set, list)| list.prefixes.iter().map(move |prefix| (*prefix, set)));
    let mut all: Vec<(IpNet, SetId)> = all.collect();
    // A prefix that is in several lists counts for the first, as it would in their sets.
    all.sort_unstable();
    all.dedup_by_key(|(prefix, _)| *prefix);
    let ipv4 = all.partition_point(|(prefix, _)| matches!(prefix, IpNet::V4(_))) as u64;
    let ipv6 = all.len() as u64 - ipv4;
    let total = Figures {
        lines: sum(|list| list.lines),
        entries: sum(|list| list.entries),
        ipv4,
        ipv6,
        duplicates: sum(|list| list.duplicates + list.ipv4 + list.ipv6) - ipv4 - ipv6,
        memory: memory("all lists together", all)?,
    };
    Ok(Checked { schema: SCHEMA, lists: each, total })
}

/// Bytes of the tables that block these.
fn memory(what: &str, entries: impl IntoIterator<Item = (IpNet, SetId)>) -> Result<u64> {
    let mut contents = Contents::default();
    let footprint = set_entries(&mut contents, TableKind::Block, entries).and_then(|()| footprint(&contents));
    Ok(footprint.with_context(|| what.to_owned())?.bytes)
}

fn text(checked: &Checked) -> String {
    let row = |name: &str, figures: &Figures| {
        let Figures { lines, entries, ipv4, ipv6, duplicates, memory } = *figures;
        let counts = [lines, entries, ipv4, ipv6, duplicates].map(grouped);
        [vec![name.to_owned()], counts.to_vec(), vec![size(memory)]].concat()
    };
    let mut rows: Vec<_> = checked.lists.iter().map(|list| row(&list.source, &list.figures)).collect();
    if rows.len() > 1 {
        rows.push(row("(all)", &checked.total));
    }
    table::aligned(&["LIST", ">LINES", ">ENTRIES", ">IPV4", ">IPV6", ">DUPLICATES", ">MEMORY"], rows)
}

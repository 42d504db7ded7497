//! `levee block`: block lists, by prefix.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::entries::{self, AddArgs, DelArgs};
use super::render::{grouped, prefix};
use super::{Outcome, input, table};
use crate::api::client::Client;
use crate::api::types::{
    Action, Blocked, EntriesWithin, PrefixMatch, SCHEMA, TestRequest, TestResult, Tested,
};
use crate::engine::COUNTED;

/// Block sources
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee block add 203.0.113.0/24 --ttl 1h --reason 'SYN flood'
  levee block test 203.0.113.7")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drop packets from these sources
    ///
    /// Refused where that would cut off who must stay reachable: this host's own addresses, its default gateways, the
    /// far ends of SSH sessions; and for prefixes that are broader than any network has (IPv4 /8, IPv6 /16). What an
    /// allow entry covers stays reachable, and may be covered.
    #[command(after_help = "\
Example:
  levee block add 203.0.113.0/24 2001:db8::/32 --ttl 1h --reason 'SYN flood'
  levee block add 192.0.2.0/24 --force      # although somebody who must stay reachable is in it
  grep attack /var/log/app | cut -d' ' -f1 | levee block add - --set app")]
    Add {
        #[command(flatten)]
        add: AddArgs,
        /// The set that they go into
        #[arg(long, value_name = "NAME", default_value = "block", value_parser = super::set_name)]
        set: String,
        /// Block also who must stay reachable
        #[arg(long)]
        force: bool,
    },
    /// Remove exactly these prefixes from a set
    #[command(after_help = "\
Example:
  levee block del 203.0.113.0/24")]
    Del {
        #[command(flatten)]
        del: DelArgs,
        /// The set that they are in
        #[arg(long, value_name = "NAME", default_value = "block", value_parser = super::set_name)]
        set: String,
    },
    /// List what is blocked, why, and until when
    #[command(after_help = "\
Example:
  levee block list --set block
  levee block list -j | jq -r '.sets[].entries[].prefix'")]
    List {
        /// One set only
        #[arg(long, value_name = "NAME", value_parser = super::set_name)]
        set: Option<String>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Ask whether packets from these sources are dropped, by any of the lists
    ///
    /// A prefix is blocked when every address of it is, and partly blocked when some are: entries within it and allow
    /// entries count. Exit code 0: all of them are blocked, all of each; 1: at least one is not, or only in part; 2: no
    /// answer.
    #[command(after_help = "\
Example:
  levee block test 203.0.113.7 198.51.100.0/24
  levee block test - < addresses.txt")]
    Test {
        /// Addresses or prefixes, or `-` to read them from standard input, one a line
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

impl Args {
    /// Whether the command asks a question, whose answer the exit code gives.
    pub fn is_test(&self) -> bool {
        matches!(self.command, Command::Test { .. })
    }
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    match args.command {
        Command::Add { add, set, force } => entries::add(add, &set, Action::Block, force, client, out).await,
        Command::Del { del, set } => entries::del(&del, &set, Action::Block, client, out).await,
        Command::List { set, json } => {
            entries::list(&[Action::Block], set.as_deref(), json, client, out).await
        }
        Command::Test { prefixes, json } => test(&prefixes, json, client, out).await,
    }
}

/// Prefixes that one request asks about.
const CHUNK: usize = 50_000;

async fn test(prefixes: &[String], json: bool, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let inputs = input::prefixes(prefixes)?;
    let mut all =
        Tested { schema: SCHEMA, blocked: 0, partly_blocked: 0, not_blocked: 0, results: Vec::new() };
    for (number, chunk) in inputs.texts.chunks(CHUNK).enumerate() {
        let request = TestRequest { prefixes: chunk.to_vec() };
        let first = (number * CHUNK) as u64;
        let tested: Tested = client
            .ask("/v1/test", &request)
            .await
            .map_err(|error| super::Refusal::from_client(error, |index| inputs.place(first + index)))?;
        all.blocked += tested.blocked;
        all.partly_blocked += tested.partly_blocked;
        all.not_blocked += tested.not_blocked;
        all.results.extend(tested.results);
    }
    if json {
        table::json(out, &all)?;
    } else {
        for result in &all.results {
            writeln!(out, "{}", verdict(result))?;
        }
        if all.results.len() > 1 {
            writeln!(out, "{}", summary(&all))?;
        }
    }
    Ok(if all.partly_blocked + all.not_blocked == 0 { Outcome::Done } else { Outcome::No })
}

fn summary(all: &Tested) -> String {
    let partly = match all.partly_blocked {
        0 => String::new(),
        partly => format!(" {} partly blocked,", grouped(partly)),
    };
    format!("{} blocked,{partly} {} not blocked", grouped(all.blocked), grouped(all.not_blocked))
}

fn verdict(result: &TestResult) -> String {
    let TestResult { block, allow, block_within, allow_within, .. } = result;
    let (block, allow) = (block.as_ref().map(entry), allow.as_ref().map(entry));
    let decides = match (result.verdict, block, allow) {
        (Blocked::Not, Some(block), Some(allow)) => {
            format!("not blocked: allowed by {allow}, which overrides {block}")
        }
        (Blocked::Not, None, Some(allow)) => format!("not blocked: allowed by {allow}"),
        (Blocked::Not, Some(block), None) => {
            format!(
                "not blocked: {} within it, which together override {block}",
                entries(allow_within, "allow")
            )
        }
        (Blocked::Not, None, None) if block_within.is_empty() => "not blocked".to_owned(),
        (Blocked::Not, None, None) => {
            let (allows, blocks) = (entries(allow_within, "allow"), entries(block_within, "block"));
            format!("not blocked: {allows} within it, which override {blocks}")
        }
        (Blocked::All, Some(block), _) => format!("blocked by {block}"),
        (Blocked::All, None, _) => format!("blocked by {} within it", entries(block_within, "block")),
        (Blocked::Partly, Some(block), _) => {
            format!("partly blocked: by {block}, but not {} within it", entries(allow_within, "allow"))
        }
        (Blocked::Partly, None, _) if allow_within.is_empty() => {
            format!("partly blocked: by {} within it", entries(block_within, "block"))
        }
        (Blocked::Partly, None, _) => {
            let (blocks, allows) = (entries(block_within, "block"), entries(allow_within, "allow"));
            format!("partly blocked: by {blocks} within it, but not {allows}")
        }
    };
    format!("{} {decides}", prefix(&result.prefix))
}

/// An entry, by its prefix and its set.
fn entry(found: &PrefixMatch) -> String {
    format!("{} (set {})", found.prefix, found.set.as_deref().unwrap_or("unknown"))
}

/// The only one by its name, several by their number.
fn entries(within: &EntriesWithin, action: &str) -> String {
    match (within.count, &within.first) {
        (1, Some(only)) => entry(only),
        (COUNTED.., _) => format!("{} or more {action} entries", grouped(COUNTED)),
        (count, _) => format!("{} {action} entries", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prefix: &str, set: &str) -> Option<PrefixMatch> {
        Some(PrefixMatch { prefix: prefix.parse().unwrap(), set: Some(set.to_owned()) })
    }

    fn within(count: u64, prefix: &str, set: &str) -> EntriesWithin {
        EntriesWithin { count, first: found(prefix, set) }
    }

    fn result(prefix: &str, verdict: Blocked) -> TestResult {
        TestResult {
            prefix: prefix.parse().unwrap(),
            verdict,
            blocked: verdict == Blocked::All,
            block: None,
            allow: None,
            block_within: EntriesWithin::default(),
            allow_within: EntriesWithin::default(),
        }
    }

    #[test]
    fn an_allow_entry_that_overrides_a_block_entry_is_named() {
        let mut result = result("203.0.113.7/32", Blocked::All);
        result.block = found("203.0.113.0/24", "ipsum");
        assert_eq!(verdict(&result), "203.0.113.7 blocked by 203.0.113.0/24 (set ipsum)");
        (result.verdict, result.allow) = (Blocked::Not, found("203.0.113.7/32", "allow"));
        let expected = "203.0.113.7 not blocked: allowed by 203.0.113.7/32 (set allow), which overrides 203.0.113.0/24 (set ipsum)";
        assert_eq!(verdict(&result), expected);
    }

    #[test]
    fn what_lies_within_a_prefix_is_named_or_counted() {
        let mut partly = result("10.0.0.0/8", Blocked::Partly);
        (partly.block, partly.allow_within) =
            (found("10.0.0.0/8", "block"), within(1, "10.9.0.0/24", "allow"));
        let expected =
            "10.0.0.0/8 partly blocked: by 10.0.0.0/8 (set block), but not 10.9.0.0/24 (set allow) within it";
        assert_eq!(verdict(&partly), expected);
        let mut all = result("20.0.0.0/8", Blocked::All);
        all.block_within = within(2, "20.0.0.0/9", "block");
        assert_eq!(verdict(&all), "20.0.0.0/8 blocked by 2 block entries within it");
        let mut partly = result("30.0.0.0/8", Blocked::Partly);
        (partly.block_within, partly.allow_within) =
            (within(COUNTED, "30.0.0.0/9", "block"), within(3, "30.0.0.7/32", "allow"));
        let expected =
            "30.0.0.0/8 partly blocked: by 1,000 or more block entries within it, but not 3 allow entries";
        assert_eq!(verdict(&partly), expected);
        assert_eq!(verdict(&result("192.0.2.0/24", Blocked::Not)), "192.0.2.0/24 not blocked");
    }
}

//! `levee block`: block lists, by prefix.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;

use super::entries::{self, AddArgs, DelArgs};
use super::{Outcome, input, table};
use crate::api::client::Client;
use crate::api::types::{Action, SCHEMA, TestRequest, TestResult, Tested};

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
    #[command(after_help = "\
Example:
  levee block add 203.0.113.0/24 2001:db8::/32 --ttl 1h --reason 'SYN flood'
  grep attack /var/log/app | cut -d' ' -f1 | levee block add - --set app")]
    Add {
        #[command(flatten)]
        add: AddArgs,
        /// The set that they go into
        #[arg(long, value_name = "NAME", default_value = "block")]
        set: String,
    },
    /// Remove exactly these prefixes from a set
    #[command(after_help = "\
Example:
  levee block del 203.0.113.0/24")]
    Del {
        #[command(flatten)]
        del: DelArgs,
        /// The set that they are in
        #[arg(long, value_name = "NAME", default_value = "block")]
        set: String,
    },
    /// List what is blocked, why, and until when
    #[command(after_help = "\
Example:
  levee block list --set block
  levee block list -j | jq -r '.sets[].entries[].prefix'")]
    List {
        /// One set only
        #[arg(long, value_name = "NAME")]
        set: Option<String>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Ask the kernel's tables whether packets from these sources are dropped
    ///
    /// Exit code 0: all of them are blocked; 1: at least one is not; 2: no answer.
    #[command(after_help = "\
Example:
  levee block test 203.0.113.7
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
        Command::Add { add, set } => entries::add(add, &set, Action::Block, client, out).await,
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
    let mut all = Tested { schema: SCHEMA, blocked: 0, not_blocked: 0, results: Vec::new() };
    for (number, chunk) in inputs.texts.chunks(CHUNK).enumerate() {
        let request = TestRequest { prefixes: chunk.to_vec() };
        let first = (number * CHUNK) as u64;
        let tested: Tested = client
            .post("/v1/test", &request)
            .await
            .map_err(|error| super::Refusal::from_client(error, |index| inputs.place(first + index)))?;
        all.blocked += tested.blocked;
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
            let (blocked, not) =
                (super::render::grouped(all.blocked), super::render::grouped(all.not_blocked));
            writeln!(out, "{blocked} blocked, {not} not blocked")?;
        }
    }
    Ok(if all.not_blocked == 0 { Outcome::Done } else { Outcome::No })
}

fn verdict(result: &TestResult) -> String {
    let entry = |found: &crate::api::types::PrefixMatch| {
        format!("{} (set {})", found.prefix, found.set.as_deref().unwrap_or("unknown"))
    };
    let prefix = super::render::prefix(&result.prefix);
    match (&result.block, &result.allow) {
        (Some(block), Some(allow)) => {
            format!("{prefix} not blocked: allowed by {}, which overrides {}", entry(allow), entry(block))
        }
        (Some(block), None) => format!("{prefix} blocked by {}", entry(block)),
        (None, Some(allow)) => format!("{prefix} not blocked: allowed by {}", entry(allow)),
        (None, None) => format!("{prefix} not blocked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::PrefixMatch;

    #[test]
    fn an_allow_entry_that_overrides_a_block_entry_is_named() {
        let entry = |prefix: &str, set: &str| {
            Some(PrefixMatch { prefix: prefix.parse().unwrap(), set: Some(set.to_owned()) })
        };
        let mut result = TestResult {
            prefix: "203.0.113.7/32".parse().unwrap(),
            blocked: true,
            block: entry("203.0.113.0/24", "ipsum"),
            allow: None,
        };
        assert_eq!(verdict(&result), "203.0.113.7 blocked by 203.0.113.0/24 (set ipsum)");
        result.allow = entry("203.0.113.7/32", "allow");
        let expected = "203.0.113.7 not blocked: allowed by 203.0.113.7/32 (set allow), which overrides 203.0.113.0/24 (set ipsum)";
        assert_eq!(verdict(&result), expected);
    }
}

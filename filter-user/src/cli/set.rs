//! `levee set`: named sets as a whole, above all importing lists.

use std::fs::File;
use std::io::{Cursor, IsTerminal as _, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::{Subcommand, ValueEnum};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::imported::{shrunk, summary};
use super::progress::Upload;
use super::render::{grouped, sets};
use super::{Outcome, Refusal, Usage, change, set_name, table};
use crate::api::client::{Client, encode};
use crate::api::server::MAX_LIST_BYTES;
use crate::api::types::{Action, ImportQuery, Imported, SetEntries, SetList, SetRemoved, Span};

/// Work with whole sets: import, export, change, list, flush, remove
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee set import ipsum ipsum.txt --replace
  levee set list")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import a list of addresses, prefixes and ranges: all of it, or nothing
    ///
    /// Text with one entry a line; comments (# and ;), a second column (`address<TAB>score`), CRLF, a byte order
    /// mark and gzip are understood. A list may have 4,194,304 prefixes (a range counts as those that cover it),
    /// 256 MiB of text, and 4,096 bytes a line; more goes into several sets. A list that comes slower than 1 KiB in
    /// 30 s is given up.
    #[command(after_help = "\
Example:
  levee set import ipsum ipsum.txt --replace --reason 'daily blacklist'
  curl -s https://example.org/list.gz | levee set import example - --ttl 1d
  levee set import partners partners.txt --action allow
  levee set import ipsum ipsum.txt --replace --dry-run
  levee set import bogons fullbogons.txt --force     # although this host has an address of those
  curl -sSf https://example.org/list | levee set import example - --replace --max-change 30%")]
    Import(ImportArgs),
    /// Add what one list names to a set and remove what another names: all of it, or nothing
    ///
    /// The set is then as it was or as it is to be, whatever goes wrong. Packets meet the change entry by entry, the
    /// additions before the removals, for up to some tenths of a second; where that matters, `import --replace` is
    /// one step for them. Should the daemon be killed meanwhile, the part that was made filters until the next
    /// `levee run`, which makes the filter what the set is: as before or as after.
    #[command(after_help = "\
Example:
  levee set change ipsum --add-from new.txt --remove-from gone.txt
  comm -13 yesterday today | levee set change feed --add-from - --ttl 1d
  levee set change bogons --add-from new.txt --force     # although this host has an address of those")]
    Change(change::Args),
    /// List the sets
    ///
    /// DROPPED counts packets on the interfaces that the filter is on now, on each since it was attached there: an
    /// interface that is detached takes its figures with it. What removed sets dropped stands below.
    #[command(after_help = "\
Example:
  levee set list -j")]
    List {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Print a set as a list that `set import` takes again: plain prefixes, one a line
    ///
    /// Ends and reasons are not in the list; --json has them. A list that did not come whole ends with exit code 1.
    #[command(after_help = "\
Example:
  levee set export ipsum > ipsum.txt
  levee set export ipsum | levee check -
  levee set export ipsum -j | jq '.entries[].expires'")]
    Export {
        /// The set
        #[arg(value_parser = set_name)]
        name: String,
        /// Print JSON: every entry with who added it, when, why and until when
        #[arg(short, long)]
        json: bool,
    },
    /// Remove every prefix of a set, and keep the set
    #[command(after_help = "\
Example:
  levee set flush ipsum")]
    Flush {
        /// The set
        #[arg(value_parser = set_name)]
        name: String,
    },
    /// Remove a set and every prefix of it
    #[command(after_help = "\
Example:
  levee set rm ipsum")]
    Rm {
        /// The set
        #[arg(value_parser = set_name)]
        name: String,
    },
}

/// What a set that lists go into does.
#[derive(Debug, clap::Args)]
pub struct SetAction {
    /// What the set does
    #[arg(long, value_enum, default_value = "block")]
    action: NamedAction,
    /// The list is of destinations; with --action allow only
    #[arg(long)]
    destination: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NamedAction {
    /// Drop packets from these sources.
    Block,
    /// Pass packets from these sources.
    Allow,
    /// Nothing by itself: rules of the policy look at it.
    Match,
}

impl SetAction {
    pub fn action(&self) -> Result<Action> {
        Ok(match (self.action, self.destination) {
            (NamedAction::Block, false) => Action::Block,
            (NamedAction::Allow, false) => Action::Allow,
            (NamedAction::Allow, true) => Action::AllowDestination,
            (NamedAction::Match, false) => Action::Match,
            (NamedAction::Block | NamedAction::Match, true) => {
                return Err(Usage::new(
                    "--destination goes with --action allow: only sources can be blocked",
                )
                .into());
            }
        })
    }
}

/// How the list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Found out from the list itself.
    Auto,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The set; made when there is none of that name
    #[arg(value_parser = set_name)]
    name: String,
    /// The list, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    action: SetAction,
    /// The set becomes the list, in one step for every packet; without it the list is added to the set, which
    /// packets meet entry by entry
    #[arg(long)]
    replace: bool,
    /// For how long, such as 1h or 7d; without end when not given. The daemon ends it: while it is
    /// dead, entries stay
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Why; kept with the entries
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Refuse a list that would add or remove more than this part of what the set holds. Without it, a list that takes
    /// out more than half is only warned of: it may have been cut off on its way
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_change: Option<u8>,
    /// Report bad lines and skip them, in place of refusing the list
    #[arg(long)]
    skip_bad: bool,
    /// How the list is written
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Also where that blocks who must stay reachable: this host's own addresses, its default gateways, the far ends of SSH sessions,
    /// prefixes that are broader than any network has. Without it such a list is refused
    #[arg(long)]
    force: bool,
    /// Import nothing: read and check the list, and tell what an import would do and what the tables would take;
    /// refused where the import is, or may be
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl ImportArgs {
    fn query(&self) -> Result<ImportQuery> {
        let action = self.action.action()?;
        // The list is recognised by the daemon; the option is there so that a later format can be asked for.
        let Format::Auto = self.format;
        Ok(ImportQuery {
            action,
            replace: self.replace,
            ttl: self.ttl,
            reason: self.reason.clone(),
            skip_bad: self.skip_bad,
            source: Some(self.file.clone()),
            dry_run: self.dry_run,
            max_change: self.max_change,
            force: self.force,
        })
    }
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let refused = |error| Refusal::from_client(error, |_| None);
    match args.command {
        Command::Import(args) => {
            let imported = import(&args, client).await?;
            for line in &imported.skipped_lines {
                writeln!(std::io::stderr(), "skipped {line}")?;
            }
            if let Some(warning) = shrunk(&imported) {
                writeln!(std::io::stderr(), "warning: {warning}")?;
            }
            if args.json {
                table::json(out, &imported)?;
            } else {
                writeln!(out, "{}", summary(&imported))?;
            }
        }
        Command::Change(args) => return change::run(args, client, out).await,
        Command::List { json } => {
            let list: SetList = client.get("/v1/sets").await?;
            if json {
                table::json(out, &list)?;
            } else {
                out.write_all(sets(&list.sets, list.removed_sets).as_bytes())?;
            }
        }
        Command::Export { name, json } => {
            if json {
                let entries: SetEntries =
                    client.get(&format!("/v1/sets/{}", encode(&name))).await.map_err(refused)?;
                table::json(out, &entries)?;
            } else {
                client.export(&name, out).await.map_err(refused)?;
            }
        }
        Command::Flush { name } => {
            let path = format!("/v1/sets/{}/flush", encode(&name));
            let flushed: SetRemoved = client.post(&path, &serde_json::json!({})).await.map_err(refused)?;
            writeln!(out, "{}: {} prefixes removed", flushed.set, grouped(flushed.removed))?;
        }
        Command::Rm { name } => {
            let path = format!("/v1/sets/{}", encode(&name));
            let removed: SetRemoved = client.delete(&path).await.map_err(refused)?;
            writeln!(out, "{}: removed, with {} prefixes", removed.set, grouped(removed.removed))?;
        }
    }
    Ok(Outcome::Done)
}

async fn import(args: &ImportArgs, client: &Client) -> Result<Imported> {
    let query = args.query()?;
    let (list, upload): (Box<dyn AsyncRead + Send + Unpin>, _) = if args.file == "-" {
        let typed = std::io::stdin().is_terminal();
        if typed {
            // Nobody types as fast as the daemon wants a list to come.
            (Box::new(Cursor::new(typed_list()?)), Upload::new(None))
        } else {
            (Box::new(tokio::io::stdin()), Upload::new(None))
        }
    } else {
        let (file, bytes) = open(Path::new(&args.file))?;
        (Box::new(tokio::fs::File::from_std(file)), Upload::new(bytes))
    };
    let list = upload.watch(ReaderStream::with_capacity(list, READ_SIZE));
    let imported = client.import(&args.name, &query, list).await;
    imported.map_err(|error| Refusal::from_client(error, |_| None))
}

fn typed_list() -> Result<Vec<u8>> {
    writeln!(std::io::stderr(), "reading the list from the terminal; end it with Ctrl-D")?;
    let mut list = Vec::new();
    let mut input = std::io::stdin().lock().take(MAX_LIST_BYTES + 1);
    input.read_to_end(&mut list).context("cannot read the terminal")?;
    Ok(list)
}

/// Bytes that are read and sent at a time.
const READ_SIZE: usize = 256 << 10;

/// The list, and its size where it is a plain file.
pub fn open(path: &Path) -> Result<(File, Option<u64>)> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    if metadata.is_dir() {
        bail!("{shown} is a directory; expected a list of prefixes");
    }
    if metadata.is_file() && metadata.len() > MAX_LIST_BYTES {
        bail!(
            "{shown} has {} bytes; expected a list of at most {} MiB: split it into several sets",
            grouped(metadata.len()),
            MAX_LIST_BYTES >> 20
        );
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

/// `30%` or `30`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "expected a part such as 30%, at most 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_have_a_percent_sign_and_is_no_more_than_all() {
        assert_eq!((percent("30%"), percent("7")), (Ok(30), Ok(7)));
        assert!(percent("101").is_err() && percent("-1").is_err() && percent("x").is_err());
    }
}

//! The command line: one file a command. A thin client of the API; it decides nothing about packets or sets.
//!
//! Exit codes: 0 done, 1 failed and nothing was changed, 2 usage, 3 something was changed or may have been, and not all
//! of it is known (see [`exit_code`]), 130 interrupted. Results go to standard output as text or, with `-j`, as
//! the API's own JSON; notes and errors go to standard error. Colour goes to terminals only.

mod allow;
mod apply;
mod attach;
mod bans;
mod block;
mod capture;
mod change;
mod check;
mod check_policy;
mod completions;
mod confirm;
mod detach;
mod diff;
mod entries;
mod explain;
mod frame;
mod imported;
mod input;
mod man;
mod policy;
mod policy_file;
mod profile;
mod progress;
mod render;
mod replay;
mod rollback;
mod rules;
mod run;
mod sample_names;
mod samples;
mod set;
mod stats;
mod status;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::api::client::{Client, ClientError};
use crate::api::error::{ApiError, chain};
use crate::api::problem::ErrorDetail;
use crate::engine::{SetName, SetNameError};
use crate::feeds::FeedError;
use crate::guard;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/levee/levee.sock";
/// Where the dataplane is pinned unless told otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/levee";
/// Where the daemon keeps its sets unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/levee";

/// XDP flood filter: drops attack traffic before the kernel allocates a packet buffer.
#[derive(Debug, Parser)]
#[command(name = "levee", version, propagate_version = true, after_help = EXAMPLE)]
pub struct Cli {
    /// Socket of the daemon
    #[arg(long, global = true, env = "LEVEE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Example:
  levee run &
  levee attach eth0
  levee block add 203.0.113.0/24 --ttl 1h --reason 'SYN flood'
  levee stats --watch 1s

Exit codes:
  0    done, also where there was nothing to do
  1    failed, and nothing was changed
  2    wrong usage
  3    something was changed or may have been: no answer came, or it could not be printed
  130  interrupted (Ctrl-C); what is known of a change is printed
`levee block test` answers with its own: 0 blocked, 1 not blocked or not all of it, 2 no answer.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Attach(attach::Args),
    Detach(detach::Args),
    Status(status::Args),
    Stats(stats::Args),
    Block(block::Args),
    Allow(allow::Args),
    Set(set::Args),
    Check(check::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Confirm(confirm::Args),
    Rollback(rollback::Args),
    Policy(policy::Args),
    Profile(profile::Args),
    Rules(rules::Args),
    Bans(bans::Args),
    Samples(samples::Args),
    Explain(explain::Args),
    Replay(replay::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// Whether exit code 1 means "no", so that a failure needs another, as with grep and diff.
    fn is_question(&self) -> bool {
        matches!(self, Self::Block(args) if args.is_test())
    }
}

/// Where a daemon's dataplane is pinned, for what works without the daemon.
#[derive(Debug, clap::Args)]
struct PinArgs {
    /// Pin directory to read when no daemon answers
    #[arg(long, value_name = "DIR", default_value = DEFAULT_BPFFS, env = "LEVEE_BPFFS")]
    bpffs: PathBuf,
}

/// What a command ended with, when it did not fail.
enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: the answer to the question is no.
    No,
}

/// A name that a set can have.
fn set_name(text: &str) -> Result<String, SetNameError> {
    SetName::try_from(text).map(|name| name.to_string())
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_question = cli.command.is_question();
    let session = guard::session_of(std::process::id());
    let client = Client::new(&cli.socket).catching_interrupt().within(session);
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    let result = dispatch(cli, &client, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::FAILURE,
        // Whoever read the output has seen enough, as in `levee block list | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if client.has_changed() => {
            report(
                &error.context("the change was made, but not all that there is to say of it could be told"),
            );
            ExitCode::from(CHANGED)
        }
        Err(error) => {
            report(&error);
            exit_code(&error, is_question)
        }
    }
}

/// Something was changed, or may have been.
const CHANGED: u8 = 3;
/// What shells say of a process that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// A command that cannot be meant, in a way that the parser of arguments does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(std::borrow::Cow<'static, str>);

impl Usage {
    fn new(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}

/// What a failure before or in place of an answer means. A question has no failure but that there is no answer.
fn exit_code(error: &anyhow::Error, is_question: bool) -> ExitCode {
    let client = error.downcast_ref::<ClientError>();
    let refusal = error.downcast_ref::<Refusal>();
    if matches!(client, Some(ClientError::Interrupted { .. } | ClientError::GivenUp)) {
        ExitCode::from(INTERRUPTED)
    } else if client.is_some_and(ClientError::may_have_changed)
        || refusal.is_some_and(|it| it.may_have_changed)
    {
        ExitCode::from(CHANGED)
    } else if is_question || error.is::<Usage>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

fn dispatch(cli: Cli, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Cli { socket, command } = cli;
    match command {
        Command::Run(args) => return run::run(args, socket).map(|()| Outcome::Done),
        Command::Check(args) if !args.has_policies() => return check::run(&args, out),
        Command::Profile(args) => return profile::run(&args, out),
        Command::Completions(args) => return completions::run(&args, out).map(|()| Outcome::Done),
        Command::Man(args) => return man::run(&args, out).map(|()| Outcome::Done),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the asynchronous runtime")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Attach(args) => attach::run(args, client, out).await,
            Command::Detach(args) => detach::run(args, client, out).await,
            Command::Status(args) => status::run(args, client, out).await,
            Command::Stats(args) => stats::run(args, client, out).await,
            Command::Block(args) => block::run(args, client, out).await,
            Command::Allow(args) => allow::run(args, client, out).await,
            Command::Set(args) => set::run(args, client, out).await,
            Command::Check(args) => args.policies(client, out).await,
            Command::Diff(args) => diff::run(args, client, out).await,
            Command::Apply(args) => apply::run(args, client, out).await,
            Command::Confirm(args) => confirm::run(args, client, out).await,
            Command::Rollback(args) => rollback::run(args, client, out).await,
            Command::Policy(args) => policy::run(args, client, out).await,
            Command::Rules(args) => rules::run(args, client, out).await,
            Command::Bans(args) => bans::run(args, client, out).await,
            Command::Samples(args) => samples::run(args, client, out).await,
            Command::Explain(args) => explain::run(args, client, out).await,
            Command::Replay(args) => replay::run(args, client, out).await,
            Command::Run(_) | Command::Profile(_) | Command::Completions(_) | Command::Man(_) => {
                Ok(Outcome::Done)
            }
        }
    });
    // After an interrupt a thread may still wait for standard input.
    runtime.shutdown_background();
    outcome
}

/// Bad lines of a list that are shown.
const LINES_SHOWN: usize = 20;

/// A refused command, with every problem it has.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refusal {
    message: String,
    problems: Vec<String>,
    /// Something was changed, or may have been.
    may_have_changed: bool,
}

impl Refusal {
    /// A refusal from the API, where `place` says what the user calls the item of an index.
    fn from_client(error: ClientError, place: impl Fn(u64) -> Option<String>) -> anyhow::Error {
        match error {
            ClientError::Refused { detail, .. } => Self::of(detail, place),
            error => error.into(),
        }
    }

    /// A list that was refused before anybody was asked.
    fn of_list(error: FeedError) -> anyhow::Error {
        Self::of(ApiError::BadList(error).detail(), |_| None)
    }

    fn of(detail: ErrorDetail, place: impl Fn(u64) -> Option<String>) -> anyhow::Error {
        let shown = if detail.code == "bad_list" { LINES_SHOWN } else { detail.details.len() };
        let more = detail.omitted + detail.details.len().saturating_sub(shown) as u64;
        let mut problems: Vec<String> = detail
            .details
            .iter()
            .take(shown)
            .map(|problem| match problem.index.and_then(&place) {
                Some(place) => format!("{place}: {}", problem.message),
                None => problem.to_string(),
            })
            .collect();
        if more > 0 {
            problems.push(format!("... and {} more", render::grouped(more)));
        }
        Self { may_have_changed: detail.may_have_changed(), message: detail.message, problems }.into()
    }
}

fn report(error: &anyhow::Error) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let mut err = anstream::stderr().lock();
    // Nothing is left to do when standard error itself is gone.
    let _ = writeln!(err, "{style}levee:{style:#} {}", chain(error.as_ref()));
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        for problem in &refusal.problems {
            let _ = writeln!(err, "  {problem}");
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let output = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Output(output)) => Some(output),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    output.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_in_its_help() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "`{}` has no example:\n{help}", command.get_name());
            for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
                check(sub);
            }
        }
        check(&mut Cli::command());
    }
}

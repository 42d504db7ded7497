//! `levee replay`: what the filter would have done with the packets of a capture.
//!
//! Reads the capture, and has the daemon ask a twin of the filter about each packet; sums up what it says. A thread reads ahead
//! while the daemon runs, so the time is that of the slower of the two. Where rules look at sockets, it is read once before, as
//! who answers later in it listens from its beginning. Changes nothing, here or there.

mod batches;
mod file;
mod joined;
mod link;
mod read;
mod report;
mod sources;
mod stopped;

use std::io::{Read, Seek as _, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use filter_common::verdict::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use self::batches::{Batch, Pass, read_ahead};
use self::file::Input;
use self::report::{Capture, Report};
use self::sources::Sources;
use self::stopped::Stopped;
use super::explain::tried;
use super::{Outcome, Refusal, table};
use crate::api::client::{Client, ClientError};
use crate::api::types::{SCHEMA, TwinMade, TwinRequest, TwinTotals};

/// Tell what the filter would have done with the packets of a capture
///
/// Each packet goes through the filter's own program on the lists, rules and bans of now; limits begin full, and they and bans
/// go by the capture's clock. Nothing changes: no counter, no limit, no ban.
///
/// Takes pcap and pcapng, of Ethernet, raw IP and Linux cooked packets. Of a packet that was captured in part, the rest is
/// zeros.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee replay attack.pcap
  levee replay attack.pcapng --config new-policy.toml
  levee replay attack.pcap -j | jq '.stopped.percent, .reasons.no_match'
  tcpdump -i eth0 -c 100000 -w - | levee replay - --write-dropped dropped.pcapng")]
pub struct Args {
    /// The capture, pcap or pcapng, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Interface that packets come in by; the first that is filtered when not given
    #[arg(long, value_name = "IFACE")]
    interface: Option<String>,
    /// Policy to try in place of the one in force; it is not applied
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Write the packets that did not pass to this file (pcapng), with their times and link layers; what was in it is lost
    #[arg(long, value_name = "FILE")]
    write_dropped: Option<PathBuf>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// What the progress bar says: which of the two it is that goes on.
const LOOKS: &str = "looking for sockets";
const REPLAYS: &str = "replaying";
/// How long a twin is left alone: less than after which it ends.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let policy = args.config.as_deref().map(tried).transpose()?;
    let capture = Input::open(&args.file)?;
    let bytes = capture.length();
    let of_stdin = |file: &str| PathBuf::from(if file == "-" { "/proc/self/fd/0" } else { file });
    let policy_file = args.config.as_deref().map(|file| (of_stdin(file), "the policy"));
    let inputs: Vec<_> = policy_file.into_iter().chain([(of_stdin(&args.file), "the capture")]).collect();
    let stopped = args.write_dropped.as_deref();
    let stopped = stopped.map(|path| Stopped::create(path, &inputs)).transpose()?;
    let request = TwinRequest { interface: args.interface.clone(), policy };
    let twin: TwinMade =
        client.ask("/v1/twins", &request).await.map_err(|error| Refusal::from_client(error, |_| None))?;
    let mut replay = Replay {
        client,
        id: twin.id,
        capture: Capture::default(),
        sources: Sources::default(),
        stopped,
        progress: progress(bytes),
    };
    let replayed = tokio::select! {
        replayed = replay.all(capture, twin.looks_at_sockets) => replayed.with_context(|| name(&args.file)),
        ended = ended_by_signal() => {
            ended.context("cannot wait for an interrupt").and(Err(ClientError::GivenUp.into()))
        }
    };
    replay.progress.finish_and_clear();
    // It would end by itself, a minute from now.
    let ended = client.end_twin(twin.id).await;
    let totals = replayed?;
    ended?;
    if let Some(stopped) = replay.stopped.take() {
        stopped.finish()?;
    }
    let report = Report {
        schema: SCHEMA,
        file: args.file,
        interface: twin.interface,
        policy: twin.policy,
        tried: args.config,
        capture: replay.capture,
        stopped: report::Stopped::of(&totals.total),
        reasons: totals.total.reasons.clone(),
        total: totals.total,
        sockets: totals.sockets,
        rules: totals.rules,
        sets: totals.sets,
        sources: replay.sources.top(),
    };
    if args.json {
        table::json(out, &report)?;
    } else {
        out.write_all(report::text(&report).as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// Until somebody wants it to end: from the keyboard, or as `kill` and systemd do.
async fn ended_by_signal() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

fn name(file: &str) -> String {
    if file == "-" { "standard input".to_owned() } else { file.to_owned() }
}

/// Draws nothing where standard error is no terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
    let template = if bytes.is_some() {
        "{msg} {bar:30} {binary_bytes} of {binary_total_bytes}"
    } else {
        "{spinner} {msg}, {binary_bytes} so far"
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(REPLAYS)
}

/// A replay that is under way.
struct Replay<'c> {
    client: &'c Client,
    id: u64,
    capture: Capture,
    sources: Sources,
    stopped: Option<Stopped>,
    progress: ProgressBar,
}

impl Replay<'_> {
    async fn all(&mut self, capture: Input, looks_at_sockets: bool) -> Result<TwinTotals> {
        let asks = Pass::Asks { keeps: self.stopped.is_some() };
        if looks_at_sockets {
            let mut copied = tokio::task::spawn_blocking(|| capture.into_file());
            // A capture that is being made may be slow.
            let mut file = loop {
                match tokio::time::timeout(PATIENCE, &mut copied).await {
                    Ok(copied) => break copied.context("copying the capture panicked")??,
                    Err(_) => self.keep_twin().await?,
                }
            };
            let again = || "cannot read the capture again";
            // One that grows meanwhile is as long as it was: what comes later was not shown.
            let bytes = file.metadata().with_context(again)?.len();
            let shown = file.try_clone().with_context(again)?.take(bytes);
            self.pass(Box::new(shown), Pass::Shows).await?;
            file.rewind().with_context(again)?;
            self.pass(Box::new(file.take(bytes)), asks).await?;
        } else {
            self.pass(capture.into_reader(), asks).await?;
        }
        let totals = self.client.get(&format!("/v1/twins/{}", self.id)).await;
        totals.map_err(|error| Refusal::from_client(error, |_| None))
    }

    async fn pass(&mut self, capture: Box<dyn Read + Send>, pass: Pass) -> Result<()> {
        let mut batches = read_ahead(capture, pass);
        loop {
            match tokio::time::timeout(PATIENCE, batches.recv()).await {
                Ok(Some(batch)) => match pass {
                    Pass::Shows => self.show(batch?).await?,
                    Pass::Asks { .. } => self.ask(batch?).await?,
                },
                Ok(None) => return Ok(()),
                Err(_) => self.keep_twin().await?,
            }
        }
    }

    /// A twin that nobody uses ends.
    async fn keep_twin(&self) -> Result<()> {
        let asked = self.client.ask_twin(self.id, Bytes::new(), 0).await;
        asked.map(drop).map_err(|error| Refusal::from_client(error, |_| None))
    }

    async fn show(&self, Batch { body, consumed, .. }: Batch) -> Result<()> {
        let shown = self.client.show_twin(self.id, Bytes::from(body)).await;
        shown.map_err(|error| Refusal::from_client(error, |_| None))?;
        self.progress.set_message(LOOKS);
        self.progress.set_position(consumed);
        Ok(())
    }

    async fn ask(&mut self, Batch { body, packets, consumed, capture }: Batch) -> Result<()> {
        if !body.is_empty() {
            let answers = self.client.ask_twin(self.id, Bytes::from(body), packets.len()).await;
            let answers = answers.map_err(|error| Refusal::from_client(error, |_| None))?;
            for (packet, answer) in packets.into_iter().zip(answers) {
                let passed = answer.reason.verdict() == Verdict::Pass;
                if let Some(source) = packet.source {
                    self.sources.count(source, packet.bytes, passed);
                }
                if let (false, Some(stopped), Some(record)) = (passed, &mut self.stopped, &packet.record) {
                    stopped.write(record)?;
                }
            }
        }
        self.capture = capture;
        self.progress.set_message(REPLAYS);
        self.progress.set_position(consumed);
        Ok(())
    }
}

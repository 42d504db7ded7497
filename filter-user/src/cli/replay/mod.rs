//! `levee replay`: what the filter would have done with the packets of a capture.
//!
//! Reads the capture, and has the daemon ask a twin of the filter about each packet; sums up what it says. A thread reads ahead
//! while the daemon runs, so the time is that of the slower of the two. Changes nothing, here or there.

mod joined;
mod link;
mod read;
mod report;
mod sources;
mod stopped;

use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use filter_common::verdict::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::link::Framed;
use self::read::{CaptureError, Packets, Record};
use self::report::{Capture, Report};
use self::sources::Sources;
use self::stopped::Stopped;
use super::explain::tried;
use super::{Outcome, Refusal, table};
use crate::api::client::{Client, ClientError};
use crate::api::packets::{MAX_PACKET_BYTES, Packet};
use crate::api::types::{SCHEMA, TwinMade, TwinRequest, TwinTotals};
use crate::dataplane::MAX_FRAME;
use crate::packet;

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

/// Bytes of packets in a request.
const BATCH: usize = 1 << 20;
const _: () = assert!(BATCH + 2 * MAX_FRAME < MAX_PACKET_BYTES);
/// How long a twin is left alone: less than after which it ends.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Requests that are read ahead.
const AHEAD: usize = 2;

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let policy = args.config.as_deref().map(tried).transpose()?;
    let (file, bytes) = open(&args.file)?;
    let input = (args.file != "-").then(|| PathBuf::from(&args.file));
    let stopped = args.write_dropped.as_deref();
    let stopped = stopped.map(|path| Stopped::create(path, input.as_deref())).transpose()?;
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
        replayed = replay.all(file) => replayed.with_context(|| name(&args.file)),
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

/// The capture, and its length if it has one.
fn open(file: &str) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if file == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {file}"))?;
    let metadata = opened.metadata().with_context(|| format!("cannot read {file}"))?;
    Ok((Box::new(opened), metadata.is_file().then_some(metadata.len())))
}

/// Draws nothing where standard error is no terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
    let template = if bytes.is_some() {
        "replaying {bar:30} {binary_bytes} of {binary_total_bytes}"
    } else {
        "{spinner} replaying, {binary_bytes} so far"
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Packets on their way to the daemon.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    /// In the order of the body.
    packets: Vec<Sent>,
    /// What of the capture they are the end of.
    consumed: u64,
    capture: Capture,
}

/// What is kept of a packet.
struct Sent {
    source: Option<IpAddr>,
    bytes: u64,
    /// As it was captured, where what does not pass is written.
    record: Option<Record>,
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
    async fn all(&mut self, file: Box<dyn Read + Send>) -> Result<TwinTotals> {
        let (send, mut batches) = mpsc::channel(AHEAD);
        let keep = self.stopped.is_some();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(file, keep, &send) {
                // Nobody takes it where the other side has failed.
                let _ = send.blocking_send(Err(error));
            }
        });
        loop {
            match tokio::time::timeout(PATIENCE, batches.recv()).await {
                Ok(Some(batch)) => self.ask(batch?).await?,
                Ok(None) => break,
                // A capture that is being made may be slow, and a twin that nobody uses ends.
                Err(_) => {
                    let asked = self.client.ask_twin(self.id, Bytes::new(), 0).await;
                    asked.map_err(|error| Refusal::from_client(error, |_| None))?;
                }
            }
        }
        let totals = self.client.get(&format!("/v1/twins/{}", self.id)).await;
        totals.map_err(|error| Refusal::from_client(error, |_| None))
    }

    async fn ask(&mut self, batch: Batch) -> Result<()> {
        let Batch { body, packets, consumed, capture } = batch;
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
        self.progress.set_position(consumed);
        Ok(())
    }
}

type Batches = mpsc::Sender<Result<Batch, CaptureError>>;

/// Reads to the end of a capture, or until nobody takes what was read.
fn read(file: Box<dyn Read + Send>, keep: bool, batches: &Batches) -> Result<(), CaptureError> {
    let mut packets = Packets::new(file)?;
    let (mut batch, mut capture) = (Batch::default(), Capture::default());
    while let Some(record) = packets.next()? {
        add(record, keep, &mut batch, &mut capture);
        if batch.body.len() >= BATCH {
            let full = Batch { consumed: packets.consumed(), capture, ..std::mem::take(&mut batch) };
            if batches.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    let last = Batch { consumed: packets.consumed(), capture, ..batch };
    // As above.
    let _ = batches.blocking_send(Ok(last));
    Ok(())
}

fn add(record: Record, keep: bool, batch: &mut Batch, capture: &mut Capture) {
    capture.at(record.at_ns);
    let framed = record.link.frame(&record.captured, record.length);
    let (frame, length, left) = match if record.left { framed.left() } else { framed } {
        Framed::Outgoing(frame, length) => (frame, length, true),
        Framed::Unreadable => {
            capture.unreadable += 1;
            return;
        }
        Framed::Frame(frame, length) => (frame, length, false),
    };
    let (frame, length) = if length > MAX_FRAME {
        capture.joined += 1;
        let mut frame = frame.into_owned();
        let length = joined::cut(&mut frame);
        (frame.into(), length)
    } else {
        (frame, length)
    };
    if left {
        capture.outgoing += 1;
        Packet { at_ns: record.at_ns, length, captured: &frame, left }.write(&mut batch.body);
        return;
    }
    let Some(source) = packet::source_of_captured(&frame, length) else {
        capture.unreadable += 1;
        return;
    };
    Packet { at_ns: record.at_ns, length, captured: &frame, left }.write(&mut batch.body);
    capture.truncated += u64::from(frame.len() < length);
    let bytes = length as u64;
    drop(frame);
    batch.packets.push(Sent { source, bytes, record: keep.then_some(record) });
}

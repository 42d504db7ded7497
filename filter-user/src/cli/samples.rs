//! `levee samples`: the packets that `sample` rules pick, as they come.
//!
//! Listens by itself to what is pinned; the daemon only tells the names of rules, and is not needed. A thread reads, so that
//! samples are not lost while something is written or the daemon is asked; what comes faster than it can be written is lost
//! in the end, and that is said.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::sync::mpsc;

use super::capture::Capture;
use super::sample_names::Names;
use super::{Outcome, PinArgs, table};
use crate::api::client::Client;
use crate::api::types::SCHEMA;
use crate::dataplane::{DataplaneError, Listener, Sample, Samples};
use crate::packet;

/// Show packets that `sample` rules pick, as they come, until interrupted
///
/// One line each: when, by which interface, which rule, how long the frame is, and what it is. The first 256 bytes of a frame
/// are captured. There is one listener at a time: whoever begins later is shown all that comes from then on, and the other
/// nothing more. Needs root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee samples
  levee samples --count 1000 --write flood.pcap && tcpdump -nr flood.pcap
  levee samples -j | jq -r .summary")]
pub struct Args {
    /// Print JSON, one document a line, with the captured bytes in hexadecimal
    #[arg(short, long)]
    json: bool,
    /// Write them to this file as well, for tcpdump and the like (pcap); what was in it is lost
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pins: PinArgs,
}

/// Reads that may wait to be written.
const WAITING: usize = 64;
/// How soon the reading thread looks whether anybody still listens.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is said at most that samples were lost.
const LOSS_TOLD: Duration = Duration::from_secs(1);

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let names = Names::new(client).await?;
    let mut reading = listen(args.pins.bpffs).await?;
    let capture = args.write.as_deref().map(Capture::create).transpose()?;
    writeln!(std::io::stderr(), "listening to samples")?;
    let mut losses = Losses::default();
    let mut shown = Shown { json: args.json, left: args.count, names, capture, out };
    let ended = tokio::select! {
        // Samples that are there are shown first.
        biased;
        ended = show(&mut reading, &mut shown, &mut losses, client) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for an interrupt"),
    };
    losses.tell(true)?;
    ended.map(|()| Outcome::Done)
}

type Reading = mpsc::Receiver<Result<Samples, DataplaneError>>;

/// Starts the thread that reads; it ends when nobody takes what it has read.
async fn listen(bpffs: PathBuf) -> Result<Reading> {
    let shown = bpffs.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Listener::open(&bpffs)).await?;
    let listener = opened.with_context(|| format!("cannot listen to what is pinned in {shown}"))?;
    let Some(mut listener) = listener else {
        bail!(
            "no policy with rules is in force: nothing to listen to is pinned in {shown} (another place: --bpffs)"
        );
    };
    let (send, receive) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        while !send.is_closed() {
            let read = listener.next(PATIENCE);
            let failed = read.is_err();
            let is_news = read.as_ref().map_or(true, |read| !read.samples.is_empty() || read.lost > 0);
            if is_news && send.blocking_send(read).is_err() || failed {
                break;
            }
        }
    });
    Ok(receive)
}

/// Where samples go.
struct Shown<'a, W> {
    json: bool,
    /// How many are still to be shown, where not all are.
    left: Option<u64>,
    names: Names,
    capture: Option<Capture>,
    out: &'a mut W,
}

/// Shows samples until there were enough.
async fn show<W: Write>(
    reading: &mut Reading,
    shown: &mut Shown<'_, W>,
    losses: &mut Losses,
    client: &Client,
) -> Result<()> {
    while let Some(read) = reading.recv().await {
        let read = read?;
        losses.note(read.lost);
        losses.tell(false)?;
        shown.names.refresh(client).await;
        for sample in &read.samples {
            shown.one(sample)?;
            if shown.left == Some(0) {
                return shown.flush();
            }
        }
        shown.flush()?;
    }
    Ok(())
}

impl<W: Write> Shown<'_, W> {
    fn one(&mut self, sample: &Sample) -> Result<()> {
        let document = Document {
            schema: SCHEMA,
            time: humantime::format_rfc3339_nanos(sample.at).to_string(),
            interface: self.names.interface(sample.ifindex),
            ifindex: sample.ifindex,
            rule: self.names.rule(sample.rule),
            counter: sample.rule,
            length: sample.length,
            summary: packet::summary(&sample.bytes, sample.length),
            bytes: sample.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        if self.json {
            table::json_line(self.out, &document)?;
        } else {
            let interface = document.interface.map_or_else(|| format!("if{}", sample.ifindex), str::to_owned);
            let rule = document.rule.map_or_else(|| format!("counter {}", sample.rule), str::to_owned);
            let time = humantime::format_rfc3339_millis(sample.at);
            writeln!(self.out, "{time} {interface} {rule} {} B {}", sample.length, document.summary)?;
        }
        if let Some(capture) = &mut self.capture {
            capture.write(sample)?;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    /// Whoever reads along sees them now, and a signal takes none from the file.
    fn flush(&mut self) -> Result<()> {
        self.out.flush()?;
        if let Some(capture) = &mut self.capture {
            capture.flush()?;
        }
        Ok(())
    }
}

/// A sample, as `-j` prints it.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    time: String,
    /// None where it is not in this network namespace.
    interface: Option<&'a str>,
    ifindex: u32,
    /// None where no daemon tells its name.
    rule: Option<&'a str>,
    counter: u32,
    length: u32,
    summary: String,
    bytes: String,
}

/// Samples that were lost.
#[derive(Default)]
struct Losses {
    lost: u64,
    told: u64,
    last_told: Option<Instant>,
}

impl Losses {
    const fn note(&mut self, lost: u64) {
        self.lost = self.lost.saturating_add(lost);
    }

    /// Says how many there are, where that is news and is due.
    fn tell(&mut self, now: bool) -> Result<()> {
        let is_due = now || self.last_told.is_none_or(|then| then.elapsed() >= LOSS_TOLD);
        if self.lost == self.told || !is_due {
            return Ok(());
        }
        (self.told, self.last_told) = (self.lost, Some(Instant::now()));
        let lost = super::render::grouped(self.lost);
        writeln!(
            std::io::stderr(),
            "note: {lost} samples were lost so far, as they came faster than they were read"
        )?;
        Ok(())
    }
}

//! The flood generator: live frames, each with its own source, from inside the kernel.
//!
//! Decides: nothing about packets; it is bounded in count, always. It runs on one CPU inside the attacker's
//! namespace, and with a veth that CPU also does the receiving side's driver work. Costs about 200 ns a frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};
use filter_common::harness::name;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::netns::Netns;
use crate::object::{Dials, Object};
use crate::packet::Frame;
use crate::runner::interrupted;
use crate::source_table::SourceTable;
use crate::sources::SourcePattern;

/// One shape of a flood.
#[derive(Clone, Debug)]
pub struct Template {
    /// The frame that every frame is a copy of.
    pub frame: Frame,
    /// What becomes of its (outermost) source address. The IPv4 header checksum stays right; an L4 checksum only
    /// [on request](SourcePattern::with_l4_checksum).
    pub sources: SourcePattern,
}

/// A bounded flood.
#[derive(Clone, Debug)]
pub struct Flood {
    templates: Vec<Template>,
    table: Option<SourceTable>,
    count: u64,
    batch: u32,
    cpu: Option<usize>,
    restored: bool,
}

/// What a flood did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloodReport {
    /// Frames handed to the interface.
    pub sent: u64,
    /// Of those, the ones that the other end of the veth had no room for.
    pub lost: u64,
    /// Frames of each template.
    pub by_template: Vec<u64>,
    /// How long it took on the clock on the wall, with what the kernel does around each burst.
    pub elapsed: Duration,
    /// How long the sending took, as the kernel's test run counts it: with the receiving side's work on the same CPU,
    /// without the set-up, and without the time that other processes had the CPU. Whole nanoseconds a frame, rounded
    /// down.
    pub busy: Duration,
}

impl FloodReport {
    /// Frames that reached the other end's driver.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.sent - self.lost
    }

    /// Frames handed to the interface in a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people; counts stay below 2^53")]
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

impl Flood {
    /// `count` frames of one shape.
    ///
    /// # Errors
    /// When the frame has no source address of the family of `sources`, or is too long for a page.
    pub fn new(frame: &Frame, sources: SourcePattern, count: u64) -> Result<Self> {
        Self::of(vec![Template { frame: frame.clone(), sources }], count)
    }

    /// `count` frames of several shapes, which take turns from frame to frame.
    ///
    /// # Errors
    /// When there is no template, or one cannot be used: see [`Flood::new`].
    pub fn of(templates: Vec<Template>, count: u64) -> Result<Self> {
        // A page less headroom and tailroom, as the kernel's test run counts.
        const LONGEST: usize = 4096 - 256 - 320 - 256;
        if templates.is_empty() {
            bail!("a flood needs at least one template");
        }
        for (index, Template { frame, sources }) in templates.iter().enumerate() {
            if sources.rewrite(frame).is_none() {
                bail!("template {index}: the outermost IP header is not {:?}", sources.family());
            }
            if frame.len() > LONGEST || frame.len() < 14 {
                bail!("template {index} has {} bytes, not between 14 and {LONGEST}", frame.len());
            }
        }
        Ok(Self { templates, table: None, count, batch: 64, cpu: None, restored: false })
    }

    /// Frames that are sent at once, at most 256; 64 unless told. A veth has room for 256.
    #[must_use]
    pub const fn batch(mut self, batch: u32) -> Self {
        self.batch = batch;
        self
    }

    /// The table that the sources of templates come from, where they do.
    #[must_use]
    pub fn table(mut self, table: Option<&SourceTable>) -> Self {
        self.table = table.cloned();
        self
    }

    /// Gives each frame the length of its template anew. Frames are made in the memory of earlier ones, and keep the length
    /// that a receiver left those with: needed where it answers in place. Costs some nanoseconds a frame.
    #[must_use]
    pub const fn restored(mut self) -> Self {
        self.restored = true;
        self
    }

    /// Keeps the flood on one CPU; otherwise it stays on the one that it starts on.
    #[must_use]
    pub const fn cpu(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// Sends it all from `interface` of `ns`, and returns when it is sent.
    ///
    /// # Errors
    /// When there is no such interface or CPU, or the kernel refuses the generator.
    pub fn run(self, ns: &Netns, interface: &str) -> Result<FloodReport> {
        self.start(ns, interface)?.wait()
    }

    /// Starts it on a thread of its own. It ends when it is all sent, or when it is told to.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses the generator.
    pub fn start(self, ns: &Netns, interface: &str) -> Result<RunningFlood> {
        let mut object = Object::with(&[], self.table.as_ref())?;
        let shapes: Vec<_> =
            self.templates.iter().map(|template| (&template.frame, template.sources)).collect();
        object.aim(&shapes, ns.interface_index(interface)?)?;
        object.xdp(name::FLOOD)?;
        let dials = Arc::new(Mutex::new(object.take_dials()?));
        let stop = Arc::new(AtomicBool::new(false));
        let shapes = self.templates.len();
        let sender = Sender {
            flood: self,
            object,
            dials: Arc::clone(&dials),
            stop: Arc::clone(&stop),
            ns: ns.clone(),
            interface: interface.to_owned(),
        };
        Ok(RunningFlood { dials, stop, shapes, thread: Some(std::thread::spawn(move || sender.send())) })
    }
}

/// The thread's side of a flood.
struct Sender {
    flood: Flood,
    object: Object,
    dials: Arc<Mutex<Dials>>,
    stop: Arc<AtomicBool>,
    ns: Netns,
    interface: String,
}

impl Sender {
    fn send(mut self) -> Result<FloodReport> {
        let (ns, interface) = (self.ns.clone(), self.interface.clone());
        let lost = || ns.read_interface::<u64>(&interface, "statistics/tx_dropped");
        let lost_before = lost()?;
        let (by_template, busy, elapsed) = ns
            .in_ns(|| {
                pin(self.flood.cpu.unwrap_or_else(rustix::thread::sched_getcpu))?;
                let start = Instant::now();
                self.bursts().map(|(sent, busy)| (sent, busy, start.elapsed()))
            })
            .with_context(|| format!("the flood from {interface} in {} failed", ns.name()))?;
        let lost = lost()? - lost_before;
        Ok(FloodReport { sent: by_template.iter().sum(), lost, by_template, elapsed, busy })
    }

    /// Sends until all is sent or somebody says stop; returns the frames of each template, and the time that took.
    fn bursts(&mut self) -> Result<(Vec<u64>, Duration)> {
        let mut busy = Duration::ZERO;
        let longest =
            self.flood.templates.iter().map(|template| &template.frame).max_by_key(|frame| frame.len());
        let mut longest = longest.context("a flood has a template")?.to_vec();
        if self.flood.restored {
            // The kernel sets a frame's length when the generator changes it, so there is something to cut off.
            longest.push(0);
        }
        loop {
            let progress = lock(&self.dials).progress(self.flood.templates.len())?;
            if let Some(index) = progress.iter().position(|shape| shape.errors > 0) {
                bail!("template {index}: {} frames could not be made", progress[index].errors);
            }
            let sent: Vec<u64> = progress.iter().map(|shape| shape.frames).collect();
            let left = self.flood.count.saturating_sub(sent.iter().sum());
            if left == 0 || self.stop.load(Ordering::Relaxed) {
                return Ok((sent, busy));
            }
            busy += self.burst(&longest, left.min(BURST))?;
        }
    }

    fn burst(&mut self, frame: &[u8], frames: u64) -> Result<Duration> {
        let repeat = u32::try_from(frames)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            attrs: TestRunAttrs::new().xdp_live_frames(self.flood.batch),
            ..TestRunOptions::default()
        };
        match self.object.xdp(name::FLOOD)?.test_run(options) {
            // The duration is that of one frame.
            Ok(result) => Ok(result.duration * repeat),
            // What was sent until then is counted, but not timed; the next burst sends the rest.
            Err(error) if interrupted(&error) => Ok(Duration::ZERO),
            Err(error) => Err(error).context("the kernel refused live frames (they need Linux 5.18)"),
        }
    }
}

/// Frames a system call. Each call waits for tens of milliseconds before its first frame (the kernel patches its XDP
/// dispatcher and lets a grace period pass), so there are few.
const BURST: u64 = 1 << 23;

/// A flood under way. Dropping it stops it.
pub struct RunningFlood {
    dials: Arc<Mutex<Dials>>,
    stop: Arc<AtomicBool>,
    shapes: usize,
    thread: Option<JoinHandle<Result<FloodReport>>>,
}

impl RunningFlood {
    /// Frames sent so far.
    ///
    /// # Errors
    /// When the generator's map cannot be read.
    pub fn sent(&self) -> Result<u64> {
        Ok(lock(&self.dials).progress(self.shapes)?.iter().map(|shape| shape.frames).sum())
    }

    /// Whether it has ended.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until all is sent.
    ///
    /// # Errors
    /// When it failed under way.
    pub fn wait(mut self) -> Result<FloodReport> {
        let thread = self.thread.take().context("the flood was waited for already")?;
        match thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Stops it, and returns when its last frame was sent.
    ///
    /// # Errors
    /// When it failed under way.
    pub fn stop(self) -> Result<FloodReport> {
        self.say_stop()?;
        self.wait()
    }

    fn say_stop(&self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        lock(&self.dials).stop()
    }
}

impl Drop for RunningFlood {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A map of a loaded program can be written; if not, the flood ends by its count all the same. Its report
            // is of no use to anyone any more.
            drop(self.say_stop());
            drop(thread.join());
        }
    }
}

/// The dials, also after a thread panicked with them in its hands: they are the kernel's, not the thread's.
fn lock(dials: &Mutex<Dials>) -> MutexGuard<'_, Dials> {
    dials.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// When there is no such CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot run on CPU {cpu}"))
}

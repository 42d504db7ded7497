//! The flood generator: live frames, each with its own source, from inside the kernel.
//!
//! Decides: nothing about packets; it is bounded in count, always. It runs on one CPU inside the attacker's
//! namespace, and with a veth that CPU also does the receiving side's driver work. Costs about 200 ns a frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};
use filter_common::harness::name;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::netns::Netns;
use crate::object::Object;
use crate::packet::Frame;
use crate::runner::interrupted;
use crate::sources::SourcePattern;

/// One shape of a flood.
#[derive(Clone, Debug)]
pub struct Template {
    /// The frame that every frame is a copy of.
    pub frame: Frame,
    /// What becomes of its (outermost) source address. The IPv4 header checksum stays right; an L4 checksum does not.
    pub sources: SourcePattern,
}

/// A bounded flood.
#[derive(Clone, Debug)]
pub struct Flood {
    templates: Vec<Template>,
    count: u64,
    batch: u32,
    chunk: u32,
    cpu: Option<usize>,
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
    /// How long it took.
    pub elapsed: Duration,
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

    /// `count` frames of several shapes, which take turns.
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
            if sources.rewrite(frame, 0).is_none() {
                bail!("template {index}: the outermost IP header is not {:?}", sources.family());
            }
            if frame.len() > LONGEST || frame.len() < 14 {
                bail!("template {index} has {} bytes, not between 14 and {LONGEST}", frame.len());
            }
        }
        Ok(Self { templates, count, batch: 64, chunk: 16_384, cpu: None })
    }

    /// Frames that are sent at once, at most 256; 64 unless told. A veth has room for 256.
    #[must_use]
    pub const fn batch(mut self, batch: u32) -> Self {
        self.batch = batch;
        self
    }

    /// Frames of one template before the next has its turn; 16,384 unless told.
    #[must_use]
    pub const fn chunk(mut self, chunk: u32) -> Self {
        self.chunk = chunk;
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
    pub fn run(&self, ns: &Netns, interface: &str) -> Result<FloodReport> {
        self.send(ns, interface, &Shared::default())
    }

    /// Starts it on a thread of its own. It ends when it is all sent, or when it is told to.
    #[must_use]
    pub fn start(self, ns: &Netns, interface: &str) -> RunningFlood {
        let shared = Arc::new(Shared::default());
        let (ns, interface, ours) = (ns.clone(), interface.to_owned(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || self.send(&ns, &interface, &ours));
        RunningFlood { shared, thread: Some(thread) }
    }

    fn send(&self, ns: &Netns, interface: &str, shared: &Shared) -> Result<FloodReport> {
        let index = ns.interface_index(interface)?;
        let mut objects = self.load(index)?;
        let lost = || ns.read_interface::<u64>(interface, "statistics/tx_dropped");
        let lost_before = lost()?;
        let (by_template, elapsed) = ns
            .in_ns(|| {
                pin(self.cpu.unwrap_or_else(rustix::thread::sched_getcpu))?;
                let start = Instant::now();
                self.rotate(&mut objects, shared).map(|sent| (sent, start.elapsed()))
            })
            .with_context(|| format!("the flood from {interface} in {} failed", ns.name()))?;
        Ok(FloodReport { sent: by_template.iter().sum(), lost: lost()? - lost_before, by_template, elapsed })
    }

    /// One load a template, so that each has its own configuration and position.
    fn load(&self, interface: u32) -> Result<Vec<Object>> {
        self.templates
            .iter()
            .map(|Template { frame, sources }| {
                let mut object = Object::new()?;
                object.configure(sources.rewrite(frame, interface).context("no source to rewrite")?)?;
                object.xdp(name::FLOOD)?;
                Ok(object)
            })
            .collect()
    }

    /// Lets the templates take turns until all is sent; returns the frames of each.
    fn rotate(&self, objects: &mut [Object], shared: &Shared) -> Result<Vec<u64>> {
        let mut sent = vec![0; objects.len()];
        for index in (0..objects.len()).cycle() {
            let total: u64 = sent.iter().sum();
            let left = self.count.saturating_sub(total);
            if left == 0 || shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let frames = u32::try_from(left.min(u64::from(self.chunk))).context("a chunk is a u32")?;
            self.burst(&mut objects[index], &self.templates[index].frame, frames)?;
            let progress = objects[index].progress()?;
            if progress.errors > 0 {
                bail!("template {index}: {} frames could not be rewritten", progress.errors);
            }
            sent[index] = progress.frames;
            shared.sent.store(sent.iter().sum(), Ordering::Relaxed);
        }
        Ok(sent)
    }

    fn burst(&self, object: &mut Object, frame: &Frame, frames: u32) -> Result<()> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(self.batch),
            ..TestRunOptions::default()
        };
        match object.xdp(name::FLOOD)?.test_run(options) {
            Ok(_) => Ok(()),
            // What was sent until then is counted; the rest comes with the next turn.
            Err(error) if interrupted(&error) => Ok(()),
            Err(error) => Err(error).context("the kernel refused live frames (they need Linux 5.18)"),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// A flood under way. Dropping it stops it.
#[derive(Debug)]
pub struct RunningFlood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<FloodReport>>>,
}

impl RunningFlood {
    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until all is sent.
    ///
    /// # Errors
    /// What [`Flood::run`] would have returned.
    pub fn wait(mut self) -> Result<FloodReport> {
        let thread = self.thread.take().context("the flood was waited for already")?;
        match thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Stops it after the burst under way.
    ///
    /// # Errors
    /// What [`Flood::run`] would have returned.
    pub fn stop(self) -> Result<FloodReport> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wait()
    }
}

impl Drop for RunningFlood {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The report is of no use to anyone any more; a failure was the caller's to ask for.
            drop(thread.join());
        }
    }
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

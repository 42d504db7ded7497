//! The harness's eBPF object: loads it, and gives its maps their types.
//!
//! Trusts that object and library were built together: both read [`filter_common::harness`].

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, Pod};
use filter_common::harness::{Progress, Rewrite, StackCount};

use crate::packet::Frame;
use crate::sources::SourcePattern;

/// A map value of `filter_common`, which does not know aya.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Plain<T>(pub T);

// SAFETY: repr(C) words without padding, of which any bytes are valid.
unsafe impl Pod for Plain<Rewrite> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Progress> {}
// SAFETY: as above.
unsafe impl Pod for Plain<StackCount> {}

/// One load of the object: its maps are its own, so loads do not disturb each other.
#[derive(Debug)]
pub struct Object(Ebpf);

impl Object {
    /// Creates the maps. Programs are loaded when they are asked for.
    ///
    /// # Errors
    /// When the kernel refuses a map.
    pub fn new() -> Result<Self> {
        Ok(Self(Ebpf::load(filter_user::object::HARNESS).context("cannot create the maps of the harness")?))
    }

    /// The XDP program of that name, loaded.
    ///
    /// # Errors
    /// When there is none, or the verifier refuses it.
    pub fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program: &mut Xdp = self
            .0
            .program_mut(name)
            .with_context(|| format!("the harness has no program {name}"))?
            .try_into()
            .with_context(|| format!("{name} is no XDP program"))?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("the kernel refused the program {name}"))?;
        }
        Ok(program)
    }

    /// The object itself.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.0
    }

    /// Tells the generators what to write.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn configure(&mut self, rewrite: Rewrite) -> Result<()> {
        let map = self.0.map_mut(filter_common::harness::name::REWRITE).context("no rewrite map")?;
        let mut map: Array<&mut MapData, Plain<Rewrite>> = map.try_into()?;
        map.set(0, Plain(rewrite), 0).context("cannot configure the generator")
    }

    /// Tells the generators to give copies of `frame` the sources of `sources`, and to redirect nowhere.
    ///
    /// # Errors
    /// When the frame has no source of that family, or the map refuses.
    pub fn aim(&mut self, frame: &Frame, sources: SourcePattern) -> Result<()> {
        self.configure(sources.rewrite(frame, 0).context("the frame has no source of that family")?)
    }

    /// What the generators did, on all CPUs together.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn progress(&self) -> Result<Progress> {
        let map = self.0.map(filter_common::harness::name::PROGRESS).context("no progress map")?;
        let map: PerCpuArray<&MapData, Plain<Progress>> = map.try_into()?;
        let mut total = Progress::default();
        for Plain(cpu) in map.get(&0, 0).context("cannot read the generator's progress")?.iter() {
            total.frames += cpu.frames;
            total.errors += cpu.errors;
        }
        Ok(total)
    }

    /// One slot of a per-CPU map of counts, all CPUs together.
    ///
    /// # Errors
    /// When there is no such map or slot.
    pub fn count(&self, map: &str, slot: u32) -> Result<StackCount> {
        let counts = self.0.map(map).with_context(|| format!("the harness has no map {map}"))?;
        let counts: PerCpuArray<&MapData, Plain<StackCount>> = counts.try_into()?;
        let mut total = StackCount::default();
        for Plain(cpu) in counts.get(&slot, 0).with_context(|| format!("cannot read {map}"))?.iter() {
            total.packets += cpu.packets;
            total.bytes += cpu.bytes;
        }
        Ok(total)
    }
}

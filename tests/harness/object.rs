//! The harness's eBPF object: loads it, and gives its maps their types.
//!
//! Trusts that object and library were built together: both read [`filter_common::harness`].

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use filter_common::harness::{Control, HEAD, MAX_SHAPES, Progress, Shape, StackCount, name};

use crate::packet::Frame;
use crate::source_table::SourceTable;
use crate::sources::SourcePattern;

/// One load of the object: its maps are its own, so loads do not disturb each other.
#[derive(Debug)]
pub struct Object(Ebpf);

impl Object {
    /// Creates the maps. Programs are loaded when they are asked for.
    ///
    /// # Errors
    /// When the kernel refuses a map.
    pub fn new() -> Result<Self> {
        Self::with(&[], None)
    }

    /// The same with so many elements in the maps of these names, and with the sources of a table.
    ///
    /// # Errors
    /// When the kernel refuses a map.
    pub fn with(sizes: &[(&str, u32)], sources: Option<&SourceTable>) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for (name, size) in sizes {
            loader.map_max_entries(name, *size);
        }
        if let Some(sources) = sources {
            loader.map_pin_path(name::SOURCES, sources.path());
        }
        let ebpf = loader.load(filter_user::object::HARNESS);
        Ok(Self(ebpf.context("cannot create the maps of the harness")?))
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

    /// The XDP program of that name, when it is loaded already.
    ///
    /// # Errors
    /// When there is none.
    pub fn loaded(&self, name: &str) -> Result<&Xdp> {
        let program = self.0.program(name).with_context(|| format!("the harness has no program {name}"))?;
        program.try_into().with_context(|| format!("{name} is no XDP program"))
    }

    /// The object itself.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.0
    }

    /// A map of keys and values, without their types.
    ///
    /// # Errors
    /// When there is none of that name, or it is of another kind.
    pub fn map_data(&self, name: &str) -> Result<&MapData> {
        match self.0.map(name).with_context(|| format!("the harness has no map {name}"))? {
            Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) => Ok(data),
            _ => bail!("the map {name} is of another kind"),
        }
    }

    /// Tells the generators to make frames of these shapes by turns, from the sources given with each, and to
    /// redirect them to `interface`. The driver uses the first only, and only its sources.
    ///
    /// # Errors
    /// When there are no shapes or too many, a frame has no source of the family asked for, or a map refuses.
    pub fn aim(&mut self, shapes: &[(&Frame, SourcePattern)], interface: u32) -> Result<()> {
        let count = u32::try_from(shapes.len())?;
        if count == 0 || count > MAX_SHAPES {
            bail!("{count} shapes, not between 1 and {MAX_SHAPES}");
        }
        let map = self.0.map_mut(name::SHAPES).context("no map of shapes")?;
        let mut map: Array<&mut MapData, Shape> = map.try_into()?;
        for (index, (frame, sources)) in (0..).zip(shapes) {
            let shape = shape(frame, *sources).with_context(|| format!("shape {index}"))?;
            map.set(index, shape, 0).context("cannot set a shape")?;
        }
        let map = self.0.map_mut(name::CONTROL).context("no control map")?;
        let mut map: Array<&mut MapData, Control> = map.try_into()?;
        map.set(0, Control { shapes: count, interface, stop: 0, reserved: 0 }, 0)
            .context("cannot configure the generator")
    }

    /// The generator's switch and its progress, for other threads than the one that runs it.
    ///
    /// # Errors
    /// When they were taken before.
    pub fn take_dials(&mut self) -> Result<Dials> {
        Ok(Dials {
            control: self.0.take_map(name::CONTROL).context("no control map")?.try_into()?,
            progress: self.0.take_map(name::PROGRESS).context("no progress map")?.try_into()?,
        })
    }

    /// One slot of a per-CPU map of counts, all CPUs together.
    ///
    /// # Errors
    /// When there is no such map or slot.
    pub fn count(&self, map: &str, slot: u32) -> Result<StackCount> {
        let counts = self.0.map(map).with_context(|| format!("the harness has no map {map}"))?;
        let counts: PerCpuArray<&MapData, StackCount> = counts.try_into()?;
        let mut total = StackCount::default();
        for cpu in counts.get(&slot, 0).with_context(|| format!("cannot read {map}"))?.iter() {
            total.packets += cpu.packets;
            total.bytes += cpu.bytes;
        }
        Ok(total)
    }
}

fn shape(frame: &Frame, sources: SourcePattern) -> Result<Shape> {
    let rewrite = sources
        .rewrite(frame)
        .with_context(|| format!("the outermost IP header of the frame is not {:?}", sources.family()))?;
    let head = frame.len().min(HEAD);
    let mut bytes = [0; HEAD];
    bytes[..head].copy_from_slice(&frame[..head]);
    Ok(Shape { rewrite, length: u32::try_from(frame.len())?, head: u32::try_from(head)?, bytes })
}

/// What a running generator shows and obeys.
pub struct Dials {
    control: Array<MapData, Control>,
    progress: PerCpuArray<MapData, Progress>,
}

impl Dials {
    /// Frames made of each of the first `shapes` shapes, and those that could not be.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn progress(&self, shapes: usize) -> Result<Vec<Progress>> {
        (0..u32::try_from(shapes)?)
            .map(|index| {
                let mut total = Progress::default();
                for cpu in
                    self.progress.get(&index, 0).context("cannot read the generator's progress")?.iter()
                {
                    total.frames += cpu.frames;
                    total.errors += cpu.errors;
                }
                Ok(total)
            })
            .collect()
    }

    /// Lets the generator make no more frames.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn stop(&mut self) -> Result<()> {
        let control = self.control.get(&0, 0).context("cannot read the generator's switch")?;
        self.control.set(0, Control { stop: 1, ..control }, 0).context("cannot stop the generator")
    }
}

//! How long the kernel takes to load the largest program that a policy can make.

use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::EbpfLoader;
use aya::programs::Xdp;
use filter_common::abi::{
    GEOMETRY_GLOBAL, MAX_BANS, POLICY_GLOBAL, PROGRAM, PROGRAM_FRAGS, RULES_GLOBAL, SWITCHES_GLOBAL, map,
};
use filter_common::config::Switches;
use filter_common::policy::tables::PolicyTables;
use filter_user::object::{DATAPLANE, Global, specialise};
use harness::Sandbox;
use harness::packet::Family;
use harness::policy::{compiled, read_rules};
use serde::Serialize;

use super::ruled::Ruled;
use super::text;
use crate::arguments::Pace;
use crate::lane::Lane;
use crate::series::Series;

/// Loads of each program, at least.
const LOADS: usize = 3;

/// One program's load.
#[derive(Clone, Debug, Serialize)]
pub struct Largest {
    pub program: &'static str,
    pub rules: u32,
    /// Bytes of the buckets of all limits.
    pub bucket_bytes: u64,
    /// `BPF_PROG_LOAD`.
    pub load: Series,
    /// Instructions that the verifier walked.
    pub verified: Option<u32>,
    /// Instructions that the kernel kept.
    pub instructions: Option<u32>,
}

/// Loads both programs several times.
pub fn measure(sandbox: &Sandbox, pace: Pace) -> Result<Vec<Largest>> {
    let tables = compiled(&read_rules(&text::largest())?, &text::names())?;
    let lane = Lane::new(sandbox, "largest", Family::V4)?;
    // Put in force once, so that what is loaded again is what the kernel has taken.
    let mut ruled = Ruled::attach(sandbox, &lane, "largest")?;
    ruled.put(&lane, std::sync::Arc::clone(&tables))?;
    let programs = [PROGRAM, PROGRAM_FRAGS].into_iter();
    programs.map(|program| load(program, &ruled, &tables, pace.loads.max(LOADS))).collect()
}

fn load(program: &'static str, ruled: &Ruled, tables: &PolicyTables, times: usize) -> Result<Largest> {
    let (geometry, lines) = (ruled.geometry()?, ruled.generation()?.join(map::LINES));
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(map::LINES, geometry.elements())
        .map_max_entries(map::BANS, MAX_BANS)
        .map_max_entries(map::BUCKETS, tables.bucket_lines)
        .map_pin_path(map::LINES, &lines);
    let globals = [
        Global::new(SWITCHES_GLOBAL, &Switches::DEFAULT),
        Global::new(GEOMETRY_GLOBAL, &geometry),
        Global::new(RULES_GLOBAL, &tables.rules),
        Global::new(POLICY_GLOBAL, &tables.switches),
    ];
    let object = specialise(DATAPLANE, program, &globals).context("cannot make the object")?;
    let (mut took, mut sizes) = (Vec::new(), (None, None));
    for _ in 0..times {
        let mut ebpf = loader.load(&object).context("cannot load the object")?;
        let xdp: &mut Xdp = ebpf.program_mut(program).context("no such program")?.try_into()?;
        let begun = Instant::now();
        xdp.load().with_context(|| format!("the kernel refused {program}"))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        let info = xdp.info()?;
        sizes = (info.verified_instruction_count(), info.size_translated().map(|bytes| bytes / 8));
    }
    let (verified, instructions) = sizes;
    let (rules, bucket_bytes) = (tables.rules.rules, tables.bucket_bytes());
    Ok(Largest { program, rules, bucket_bytes, load: Series::of("ms", took)?, verified, instructions })
}

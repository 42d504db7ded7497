//! xdp-filter of xdp-tools, with its smallest program that matches IPv4 addresses.
//!
//! libxdp would run it behind a dispatcher, whose freplace programs not every kernel permits; told to skip that, it
//! attaches the program itself, which is also the faster way. The tool adds one address a call, so it adds the first
//! one, and the others get the value that it wrote, through the map that it pinned.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::ProgramInfo;
use harness::Netns;

use super::tool::{Tool, Unavailable};
use super::{Edit, Filter, Installed, Program};
use crate::lane::{INTERFACE, Lane};
use crate::list::List;
use crate::memory;

const XDP_FILTER: Tool = Tool {
    program: "xdp-filter",
    package: "xdp-tools",
    environment: &[("LIBXDP_SKIP_DISPATCHER", "1"), ("LIBXDP_BPFFS", "/sys/fs/bpf")],
};
const PINS: &str = "/sys/fs/bpf/xdp-filter";
/// As its object file says.
const MOST: u32 = 10_000;
/// XDP_DROP, which indexes its statistics.
const DROP: u32 = 1;

pub struct XdpFilter {
    victim: Netns,
    version: String,
    program: PathBuf,
}

impl XdpFilter {
    pub fn load(lane: &Lane, list: &List) -> Result<Installed> {
        let ns = lane.victim.clone();
        // It takes no options before its command.
        let version = XDP_FILTER.version(&ns, &["load", "--version"])?;
        if !list.is_of_addresses() {
            return Err(Unavailable::NoPrefixes.into());
        }
        if !list.v6.is_empty() {
            return Err(Unavailable::OnlyIpv4.into());
        }
        if list.entries() > MOST {
            return Err(Unavailable::TooLong(MOST).into());
        }
        XDP_FILTER.run(&ns, &["load", "--features", "ipv4", "--policy", "allow", INTERFACE], "")?;
        let program = only_entry(&Path::new(PINS).join("programs").join(INTERFACE))?;
        let filter = Self { victim: ns, version, program };
        let addresses: Vec<Ipv4Addr> = list.v4.iter().map(ipnet::Ipv4Net::network).collect();
        filter.fill(&addresses)?;
        // It has no command that takes a list.
        Ok(Installed { filter: Box::new(filter), load: None })
    }

    fn fill(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let (first, rest) = addresses.split_first().context("the list is empty")?;
        Commands(&self.victim).add((*first).into())?;
        let path = Path::new(PINS).join("filter_ipv4");
        let mut map: PerCpuHashMap<MapData, [u8; 4], u64> =
            Map::PerCpuHashMap(MapData::from_pin(&path)?).try_into()?;
        let written: PerCpuValues<u64> =
            map.get(&first.octets(), 0).context("xdp-filter did not add the address to its map")?;
        for address in rest {
            let value = PerCpuValues::try_from(written.to_vec())?;
            map.insert(address.octets(), value, 0).context("the map of xdp-filter takes no more")?;
        }
        Ok(())
    }

    fn info(&self) -> Result<ProgramInfo> {
        ProgramInfo::from_pin(&self.program)
            .with_context(|| format!("cannot open {}", self.program.display()))
    }
}

impl Filter for XdpFilter {
    fn description(&self) -> String {
        let program = self.program.file_name().unwrap_or_default().to_string_lossy();
        format!("{}: {program}, native, without libxdp's dispatcher", self.version)
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let path = Path::new(PINS).join("xdp_stats_map");
        let map: PerCpuArray<MapData, [u64; 2]> = Map::PerCpuArray(MapData::from_pin(&path)?).try_into()?;
        let counts = map.get(&DROP, 0).context("cannot read the statistics of xdp-filter")?;
        Ok(Some(counts.iter().map(|[packets, _bytes]| packets).sum()))
    }

    fn program(&self) -> Result<Option<Program>> {
        // Its objects are built for frames in one buffer.
        Ok(Some(Program { fd: self.info()?.fd()?, frags: false }))
    }

    fn memory(&self) -> Result<Option<u64>> {
        memory::of_program(&self.info()?).map(Some)
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(Some(Box::new(Commands(&self.victim))))
    }
}

/// One run of xdp-filter a change.
struct Commands<'n>(&'n Netns);

impl Edit for Commands<'_> {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        XDP_FILTER.run(self.0, &["ip", "--mode", "src", &address.to_string()], "")?;
        Ok(())
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        XDP_FILTER.run(self.0, &["ip", "--remove", "--mode", "src", &address.to_string()], "")?;
        Ok(())
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        // The next list is loaded under the same pins, so this must work; where it does not, that load says so.
        drop(XDP_FILTER.run(&self.victim, &["unload", INTERFACE], ""));
    }
}

/// The one entry of a directory.
fn only_entry(directory: &Path) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(directory)
        .with_context(|| format!("xdp-filter pinned no program in {}", directory.display()))?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => bail!("{} does not hold exactly one program", directory.display()),
    }
}

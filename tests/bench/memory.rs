//! Kernel memory, as the kernel tells it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;

/// Bytes of all maps that a program uses. Maps inside of a map of maps are not among them.
pub fn of_program(program: &ProgramInfo) -> Result<u64> {
    let maps = program.map_ids()?.context("the kernel does not tell which maps a program uses")?;
    let maps: BTreeSet<u32> = maps.into_iter().collect();
    maps.into_iter()
        .map(|id| of_map(&MapInfo::from_id(id).with_context(|| format!("cannot open map {id}"))?))
        .sum()
}

/// Bytes of a map: `memlock` of its descriptor, which since Linux 6.4 follows its elements.
pub fn of_map(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.context("the kernel does not tell how much memory a map takes")?.trim().parse()?)
}

/// Bytes of slabs, vmalloc and per-CPU areas of the whole machine, once they have stayed as they are for `moment`, since
/// the kernel frees much later than it is told to: the difference around a step is an estimate of what that step took.
pub fn of_kernel_at_rest(moment: Duration) -> Result<u64> {
    const PAUSE: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(3);
    /// Others on the machine are never quite still.
    const STILL: u64 = 256 << 10;
    let begun = Instant::now();
    let (mut last, mut since) = (of_kernel()?, Instant::now());
    while since.elapsed() < moment && begun.elapsed() < PATIENCE {
        sleep(PAUSE);
        let now = of_kernel()?;
        if now.abs_diff(last) > STILL {
            (last, since) = (now, Instant::now());
        }
    }
    of_kernel()
}

fn of_kernel() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    ["Slab:", "VmallocUsed:", "Percpu:"].into_iter().map(|name| kibibytes(&text, name)).sum()
}

fn kibibytes(text: &str, name: &str) -> Result<u64> {
    let what = || format!("/proc/meminfo has no {name}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(what)?;
    let number: u64 = line.trim().trim_end_matches(" kB").parse().with_context(what)?;
    Ok(number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_meminfo_is_read_in_bytes() {
        let text = "MemTotal:  24 kB\nSlab:            1024 kB\n";
        assert_eq!(kibibytes(text, "Slab:").ok(), Some(1 << 20));
        assert!(kibibytes(text, "Percpu:").is_err());
    }
}

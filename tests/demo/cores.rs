//! Which core attacks and which one serves, and how packets are steered to them.
//!
//! Decides: the two cores. They are two that do not share an execution unit where the machine has such a pair, since
//! hyperthreads of one core would slow each other down whatever the filter does.

use std::fs;

use anyhow::{Context as _, Result, bail};
use harness::Netns;
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Serialize;

/// The two cores of the demo.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cores {
    /// Makes the flood, and does the work of everything upstream of the victim and of the victim's driver.
    pub attack: usize,
    /// Runs the victim's network stack, its server, and the listeners.
    pub serve: usize,
    /// They are two hyperthreads of one core: there was no better pair.
    pub hyperthreads: bool,
}

impl Cores {
    /// Chooses among the cores that this process may run on.
    ///
    /// # Errors
    /// When there is only one.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read which cores this process may run on")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let [attack, second, ..] = cores[..] else {
            bail!(
                "the demo needs two cores, one that attacks and one that serves, but may run on {} only: \
                 give this machine or container a second one",
                cores.len()
            );
        };
        let siblings = siblings(attack);
        let apart = cores[1..].iter().copied().find(|core| !siblings.contains(core));
        Ok(Self { attack, serve: apart.unwrap_or(second), hyperthreads: apart.is_none() })
    }

    /// Steers what `interface` of `ns` receives to `core` (receive packet steering).
    ///
    /// # Errors
    /// When the kernel was built without it.
    pub fn steer(ns: &Netns, interface: &str, core: usize) -> Result<()> {
        let mask = mask(core);
        ns.in_ns(|| -> Result<()> {
            let queues = format!("/sys/class/net/{interface}/queues");
            for queue in fs::read_dir(&queues).with_context(|| format!("cannot list {queues}"))? {
                let file = queue?.path().join("rps_cpus");
                if file.exists() {
                    fs::write(&file, &mask).with_context(|| format!("cannot write {}", file.display()))?;
                }
            }
            Ok(())
        })
        .with_context(|| format!("cannot steer {interface} of {} to core {core}", ns.name()))
    }
}

/// The cores that share an execution unit with this one, itself included; none where the kernel does not tell.
fn siblings(core: usize) -> Vec<usize> {
    fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"))
        .map(|list| cpu_list(&list))
        .unwrap_or_default()
}

/// A list of the kernel's, such as `0,4-5`.
fn cpu_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// A bitmap of the kernel's: 32-bit words in hexadecimal, the highest first, between commas.
fn mask(core: usize) -> String {
    let mut words = vec![format!("{:x}", 1_u32 << (core % 32))];
    words.extend(std::iter::repeat_n("00000000".to_owned(), core / 32));
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_of_cores_are_understood() {
        assert_eq!(cpu_list("0,4-6\n"), [0, 4, 5, 6]);
        assert_eq!(cpu_list(""), [] as [usize; 0]);
    }

    #[test]
    fn a_mask_has_one_bit_also_beyond_a_word() {
        assert_eq!(mask(1), "2");
        assert_eq!(mask(31), "80000000");
        assert_eq!(mask(33), "2,00000000");
    }
}

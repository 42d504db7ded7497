//! What else the machine was doing: time of the demo's two cores, and time that other programs took.
//!
//! Trusts `/proc/stat`. Time in user space is what can be told apart (a flood's packets are worked on in kernel time
//! of whoever runs just then), so load of others that is all kernel time goes unseen.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cores::Cores;

/// Readings at one moment.
pub struct Load {
    cores: [Times; 2],
    own_user: u64,
}

/// Where time went between two readings, in parts of one.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Share {
    /// Of the serving core, everything but idle.
    pub serve_core_busy: f64,
    /// Of both cores together: user time of other programs, and time that a hypervisor took.
    pub others: f64,
}

#[derive(Clone, Copy, Default)]
struct Times {
    user: u64,
    idle: u64,
    steal: u64,
    total: u64,
}

impl Load {
    /// Reads the times, of the cores and of these processes.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn read(cores: Cores, processes: &[u32]) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let own_user = processes.iter().filter_map(|process| user_time(*process)).sum();
        Ok(Self { cores: [times(&stat, cores.attack)?, times(&stat, cores.serve)?], own_user })
    }

    /// From that reading to this one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "clock ticks of a few seconds")]
    pub fn since(&self, before: &Self) -> Share {
        let spent: Vec<Times> =
            self.cores.iter().zip(&before.cores).map(|(now, then)| now.since(*then)).collect();
        let total: u64 = spent.iter().map(|core| core.total).sum();
        let user: u64 = spent.iter().map(|core| core.user).sum();
        let steal: u64 = spent.iter().map(|core| core.steal).sum();
        let others = user.saturating_sub(self.own_user.saturating_sub(before.own_user)) + steal;
        let [_, serve] = spent[..] else { return Share::default() };
        Share {
            serve_core_busy: 1.0 - serve.idle as f64 / serve.total.max(1) as f64,
            others: others as f64 / total.max(1) as f64,
        }
    }
}

impl Times {
    const fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            idle: self.idle.saturating_sub(before.idle),
            steal: self.steal.saturating_sub(before.steal),
            total: self.total.saturating_sub(before.total),
        }
    }
}

/// proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
fn times(stat: &str, core: usize) -> Result<Times> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name));
    let line = line.with_context(|| format!("/proc/stat has no line of {name}"))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("/proc/stat has {} fields for {name}, expected at least 8", ticks.len());
    };
    let total = user + nice + system + idle + iowait + irq + softirq + steal;
    Ok(Times { user: user + nice, idle: idle + iowait, steal, total })
}

/// The 14th field of proc_pid_stat(5); none when the process has ended.
fn user_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name, in brackets, and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 800 0 0 50 0 0 0\ncpu1 0 0 0 1000 0 0 0 0 0 0\n";
    const AFTER: &str =
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 150 0 50 800 0 0 90 10 0 0\ncpu1 20 0 20 1050 0 0 10 0 0 0\n";

    #[test]
    fn time_of_others_is_user_time_that_is_not_ours_and_stolen_time() -> Result<()> {
        let reading = |stat: &str, own_user| -> Result<Load> {
            Ok(Load { cores: [times(stat, 0)?, times(stat, 1)?], own_user })
        };
        let share = reading(AFTER, 40)?.since(&reading(BEFORE, 10)?);
        assert!((share.serve_core_busy - 0.5).abs() < 1e-9, "{share:?}");
        // 70 ticks of user time, 30 of them ours, and 10 stolen, of 200.
        assert!((share.others - 0.25).abs() < 1e-9, "{share:?}");
        Ok(())
    }
}

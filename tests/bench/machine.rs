//! What the figures were measured on.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Facts about the machine and the moment.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Release of the running kernel.
    pub kernel: String,
    /// As the kernel names it.
    pub cpu_model: String,
    /// Cores that are online.
    pub cores: usize,
    /// The core that was measured on.
    pub measured_on_cpu: usize,
    /// Processes that were running or waiting for a core, averaged over the minute before the run.
    pub load_before: f64,
    /// When the run began; RFC 3339.
    pub date: String,
}

impl Machine {
    /// Reads them.
    pub fn read(measured_on_cpu: usize) -> Result<Self> {
        let load = read("/proc/loadavg")?;
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        let cpus = read("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpus.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu_model: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            measured_on_cpu,
            load_before: load.context("/proc/loadavg does not begin with a number")?,
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        })
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

//! A filter with its list in force behind a veth pair of its own, and how long the list took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harness::Sandbox;
use harness::packet::Family;

use crate::arguments::Pace;
use crate::figure::Subject;
use crate::filter::{Filter, Installed, Kind};
use crate::lane::Lane;
use crate::list::List;
use crate::memory;

/// One filter behind its veth pair. The filter goes first when both are dropped.
pub struct Station {
    pub subject: Subject,
    pub filter: Box<dyn Filter>,
    pub lane: Lane,
    /// Milliseconds that the list took, load by load.
    pub loads: Vec<f64>,
    /// Megabytes of kernel memory that the list takes, load by load: what the kernel tells, or else `growth`.
    pub memory: Vec<f64>,
    /// Megabytes by which the kernel grew while the filter was set up for the first time: an estimate.
    pub growth: Option<f64>,
}

impl Station {
    /// Sets it up, several times where that is quick; the last one stays.
    ///
    /// # Errors
    /// [`Unavailable`](crate::filter::Unavailable) when it cannot be had for this list.
    pub fn new(sandbox: &Sandbox, kind: Kind, list: &List, disk: &Path, pace: Pace) -> Result<Self> {
        let subject = Subject { filter: kind, list: list.kind, entries: list.entries() };
        let name = format!("{:?}-{}-{kind:?}", list.kind, list.entries()).to_lowercase();
        let family = if list.v6.is_empty() { Family::V4 } else { Family::V6 };
        let lane = Lane::new(sandbox, &name, family)?;
        let (mut loads, mut memory, mut growth) = (Vec::new(), Vec::new(), None);
        let before = memory::of_kernel_at_rest(pace.settled)?;
        let begun = Instant::now();
        let filter = loop {
            let Installed { filter, load } = kind.install(sandbox, &lane, list, disk, pace.limit)?;
            if kind != Kind::BareDrop {
                // Later loads find what the first has left, which the kernel may free meanwhile.
                if growth.is_none() {
                    let after = memory::of_kernel_at_rest(Duration::ZERO)?;
                    growth = Some(megabytes(after.saturating_sub(before)));
                }
                let told = filter.memory().context("cannot read the memory of a list")?;
                memory.extend(told.map(megabytes).or_else(|| growth.filter(|_| loads.is_empty())));
            }
            let Some(load) = load else { break filter };
            loads.push(load.as_secs_f64() * 1e3);
            if loads.len() >= pace.loads || begun.elapsed() > pace.loading {
                break filter;
            }
        };
        Ok(Self { subject, filter, lane, loads, memory, growth })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

//! A filter with its list in force behind a veth pair of its own, and how long the list took.

use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::Sandbox;
use harness::packet::Family;

use crate::arguments::Pace;
use crate::figure::Subject;
use crate::filter::{Filter, Installed, Kind};
use crate::lane::Lane;
use crate::list::List;

/// One filter behind its veth pair. The filter goes first when both are dropped.
pub struct Station {
    pub subject: Subject,
    pub filter: Box<dyn Filter>,
    pub lane: Lane,
    /// Milliseconds that the list took, load by load.
    pub loads: Vec<f64>,
    /// Megabytes of kernel memory, load by load.
    pub memory: Vec<f64>,
}

impl Station {
    /// Sets it up, several times where that is quick; the last one stays.
    ///
    /// # Errors
    /// [`Unavailable`](crate::filter::Unavailable) when it cannot be had for this list.
    pub fn new(sandbox: &Sandbox, kind: Kind, list: &List, pace: Pace) -> Result<Self> {
        let subject = Subject { filter: kind, list: list.kind, entries: list.entries() };
        let name = format!("{:?}-{}-{kind:?}", list.kind, list.entries()).to_lowercase();
        let family = if list.v6.is_empty() { Family::V4 } else { Family::V6 };
        let lane = Lane::new(sandbox, &name, family)?;
        let (mut loads, mut memory) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        let filter = loop {
            let Installed { filter, load } = kind.install(sandbox, &lane, list, pace.limit)?;
            memory.extend(filter.memory().context("cannot read the memory of a list")?.map(megabytes));
            let Some(load) = load else { break filter };
            loads.push(load.as_secs_f64() * 1e3);
            if loads.len() >= pace.loads || begun.elapsed() > pace.loading {
                break filter;
            }
        };
        Ok(Self { subject, filter, lane, loads, memory })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

//! The rows of the contract, with every set of switches.

use anyhow::{Context as _, Result, ensure};
use filter_common::abi::PROGRAM;
use filter_common::config::Switches;
use filter_common::table::HostTables;
use filter_user::interface::InterfaceMode::Native;
use harness::contract::rows;
use harness::filter::ONE_BUFFER;
use harness::{Attached, Sandbox};

use crate::both::Both;

/// Every set of switches.
pub fn all_switches() -> impl Iterator<Item = Switches> {
    (0..8).map(|bits| Switches {
        bad_tcp_flags: bits & 1,
        bogon_source: bits >> 1 & 1,
        drop_fragments: bits >> 2,
        reserved: 0,
    })
}

pub fn every_row_of_the_contract_ends_the_same() -> Result<()> {
    let sandbox = Sandbox::enter("every_row_ends_the_same")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let host = HostTables::default();
    for (name, probe) in attached.both()? {
        let mut both = Both::new(&host, Switches::DEFAULT, &probe)?;
        let mut ran = 0;
        for row in rows() {
            if name == PROGRAM && row.frame.len() > ONE_BUFFER {
                continue;
            }
            both.reason(&row.frame, None).with_context(|| format!("{name}: {}", row.name))?;
            ran += 1;
        }
        ensure!(ran > 300, "{ran} rows are too few to be all");
        both.finish().context(name)?;
    }
    Ok(())
}

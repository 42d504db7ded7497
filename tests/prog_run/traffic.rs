//! Every row as a real frame over a real veth pair, in both modes: what the driver and the stack hand to the program
//! is what was sent.

use std::cell::RefCell;

use anyhow::{Context as _, Result, ensure};
use filter_common::counters::Counters;
use filter_user::interface::InterfaceMode::{self, Generic, Native};
use harness::contract::Policy;
use harness::filter::{INTERFACE, only_reason};
use harness::{Attached, RawSocket, Sandbox, VethOptions};

use crate::contract::{check, sources};

/// Room for the longest row: eight extension headers of the greatest size.
const MTU: u32 = 20_000;

fn send_every_row(test: &str, mode: InterfaceMode, policy: &Policy) -> Result<()> {
    let sandbox = Sandbox::enter(test)?;
    let options = VethOptions { mtu: MTU, ..VethOptions::default() };
    let mut attached = Attached::with(&sandbox, mode, policy.switches, &options)?;
    ensure!(attached.report.mode == Some(mode), "it runs in {:?} mode", attached.report.mode);
    policy.insert_into(&mut attached.opened.tables)?;
    let counters = attached.counters()?;
    let socket = RefCell::new(RawSocket::open(&attached.outside, INTERFACE)?);
    let before = counters.read()?;
    ensure!(before == Counters::default(), "frames came that no test sent: {before:?}");
    let ran = check(policy, |row| {
        let before = counters.read()?;
        socket.borrow_mut().send(&row.frame)?;
        let after = counters.wait(&before)?;
        only_reason(&before, &after, row.frame.len()).map(Some)
    })
    .with_context(|| format!("{mode} traffic"))?;
    ensure!(ran > 300, "{ran} rows are too few to be all");
    Ok(())
}

pub fn every_row_counts_the_same_as_native_traffic() -> Result<()> {
    send_every_row("native_traffic", Native, &Policy::default())
}

pub fn every_row_counts_the_same_as_generic_traffic() -> Result<()> {
    send_every_row("generic_traffic", Generic, &Policy::default())
}

pub fn a_blocked_source_is_dropped_in_every_shape_of_native_traffic() -> Result<()> {
    send_every_row("blocked_native_traffic", Native, &Policy { block: sources(), ..Policy::default() })
}

pub fn a_blocked_source_is_dropped_in_every_shape_of_generic_traffic() -> Result<()> {
    send_every_row("blocked_generic_traffic", Generic, &Policy { block: sources(), ..Policy::default() })
}

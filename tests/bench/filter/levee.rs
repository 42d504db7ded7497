//! Levee as it is shipped: the embedded object, loaded and attached by the controller's own code, default switches
//! (every contract check on), default capacity, native mode.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use filter_common::config::Switches;
use filter_common::verdict::Reason;
use filter_user::dataplane::{Capacity, Dataplane, InterfaceReport};
use filter_user::interface::InterfaceMode;
use filter_user::tables::{PrefixTables as _, TableKind};
use harness::{Netns, Sandbox, SourcePattern};
use ipnet::IpNet;

use super::{Filter, Program};
use crate::lane::{INTERFACE, Lane};

/// Any set will do.
const SET: u32 = 1;

pub struct InKernel {
    dataplane: Dataplane,
    victim: Netns,
    pins: PathBuf,
    attached: InterfaceReport,
}

impl InKernel {
    pub fn attach(sandbox: &Sandbox, lane: &Lane, listed: SourcePattern) -> Result<Self> {
        let pins = sandbox.bpffs().join(lane.victim.name());
        let (mut dataplane, _) = Dataplane::open(&pins, Capacity::default())?;
        let attached = lane
            .victim
            .in_ns(|| dataplane.attach(INTERFACE, InterfaceMode::Native, Switches::DEFAULT))
            .context("cannot attach Levee")?;
        let mut tables = dataplane.tables()?;
        for address in listed.addresses() {
            tables.insert(TableKind::Block, IpNet::from(address), SET)?;
        }
        Ok(Self { dataplane, victim: lane.victim.clone(), pins, attached })
    }
}

impl Filter for InKernel {
    fn description(&self) -> String {
        let kind = if self.attached.frags { "xdp.frags" } else { "xdp" };
        format!("levee {}, {kind}, native, default switches and capacity", env!("CARGO_PKG_VERSION"))
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let interfaces = self.dataplane.interfaces()?;
        let report = interfaces.first().context("Levee is on no interface any more")?;
        let dropped = report.counters.of(Reason::BlockedSource).packets;
        // Whatever was dropped for another reason shows up as a difference from what was sent.
        Ok(Some(dropped))
    }

    fn program(&self) -> Result<Option<Program>> {
        let path = self.pins.join(format!("interfaces/{}/program", self.attached.ifindex));
        let program = ProgramInfo::from_pin(&path)
            .with_context(|| format!("cannot open the program pinned at {}", path.display()))?;
        Ok(Some(Program { fd: program.fd()?, frags: self.attached.frags }))
    }
}

impl Drop for InKernel {
    fn drop(&mut self) {
        // The sandbox takes with it what is left.
        drop(self.victim.in_ns(|| self.dataplane.detach_all()));
    }
}

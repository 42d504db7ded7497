//! A bare `XDP_DROP`: what a veth and one core can take at all. It counts nothing, so the driver's count has to do.

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use filter_common::harness::name;
use harness::object::Object;

use super::{Edit, Filter, Installed, Program};
use crate::lane::{INTERFACE, Lane};

pub struct BareDrop {
    /// Holds the program on the interface.
    _object: Object,
}

impl BareDrop {
    pub fn attach(lane: &Lane) -> Result<Installed> {
        let mut object = Object::new()?;
        let program = object.xdp(name::BARE_DROP)?;
        lane.victim
            .in_ns(|| program.attach(INTERFACE, XdpMode::Driver))
            .with_context(|| format!("cannot attach a bare drop to {INTERFACE}"))?;
        Ok(Installed { filter: Box::new(Self { _object: object }), load: None })
    }
}

impl Filter for BareDrop {
    fn description(&self) -> String {
        "an XDP program that returns XDP_DROP, native".to_owned()
    }

    fn dropped(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn program(&self) -> Result<Option<Program>> {
        // It is the floor itself.
        Ok(None)
    }

    fn memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(None)
    }
}

//! The limiter on the kernel's LRU hash map, with every source in it before the first packet.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use aya::programs::XdpMode;
use filter_common::harness::name;
use filter_common::policy::limiter::Pace;
use harness::object::Object;
use harness::{Order, SourcePattern, batch};

use super::sources::LIMITED;
use crate::filter::{Edit, Filter, Program};
use crate::lane::{INTERFACE, Lane};
use crate::memory;

/// Packets a second, and of a burst, as in [`super::text::LIMIT`].
const RATE: u64 = 1000;

pub struct LruLimiter {
    object: Object,
    frags: bool,
}

impl LruLimiter {
    /// Attaches it as a program of the kind that Levee's is, so that both have the same floor.
    pub fn attach(lane: &Lane, frags: bool) -> Result<Self> {
        let mut object = Object::with(&[(name::LIMITED, LIMITED)], None)?;
        let pace = Pace::packets(RATE, RATE).context("a rate of the language")?;
        let map = object.ebpf().map_mut(name::PACE).context("no map of a pace")?;
        Array::<&mut MapData, [u64; 5]>::try_from(map)?.set(0, pace.words(), 0)?;
        let sources = SourcePattern::miss_v4(LIMITED, Order::Sequential);
        let keys: Vec<[u8; 4]> = sources
            .addresses()
            .filter_map(|address| match address {
                std::net::IpAddr::V4(address) => Some(address.octets()),
                std::net::IpAddr::V6(_) => None,
            })
            .collect();
        batch::update(object.map_data(name::LIMITED)?, &keys, &vec![0_u64; keys.len()])?;
        let limiter = Self { object, frags };
        limiter.on(lane)
    }

    fn on(mut self, lane: &Lane) -> Result<Self> {
        let program = self.object.xdp(self.name())?;
        lane.victim
            .in_ns(|| program.attach(INTERFACE, XdpMode::Driver))
            .context("cannot attach the LRU hash limiter")?;
        Ok(self)
    }

    const fn name(&self) -> &'static str {
        if self.frags { name::LRU_LIMITER_FRAGS } else { name::LRU_LIMITER }
    }
}

impl Filter for LruLimiter {
    fn description(&self) -> String {
        "a plain XDP program, native; Ethernet and IPv4 headers, a bucket a source in an LRU hash map"
            .to_owned()
    }

    fn dropped(&self) -> Result<Option<u64>> {
        Ok(Some(self.object.count(name::DROPPED, 0)?.packets))
    }

    fn program(&self) -> Result<Option<Program>> {
        let program = self.object.loaded(self.name())?;
        Ok(Some(Program { fd: program.fd()?.try_clone()?, frags: self.frags }))
    }

    fn memory(&self) -> Result<Option<u64>> {
        memory::of_map(&self.object.map_data(name::LIMITED)?.info()?).map(Some)
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(None)
    }
}

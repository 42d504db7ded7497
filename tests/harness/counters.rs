//! What became of packets at the far end: a drop that counts, and a count of what reached the stack.
//!
//! Costs: one per-CPU look-up a packet. Figures are exact; read them after the traffic has ended.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use aya::programs::{SchedClassifier, TcAttachType, XdpMode};
use filter_common::harness::{StackCount, name};

use crate::netns::Netns;
use crate::object::Object;

/// An XDP program on an interface that counts and drops every frame.
#[derive(Debug)]
pub struct CountDrop {
    object: Object,
}

impl CountDrop {
    /// Attaches it, in native mode.
    ///
    /// # Errors
    /// When there is no such interface, or another program holds its hook.
    pub fn attach(ns: &Netns, interface: &str) -> Result<Self> {
        let mut object = Object::new()?;
        let program = object.xdp(name::COUNT_DROP)?;
        ns.in_ns(|| program.attach(interface, XdpMode::Driver))
            .with_context(|| format!("cannot attach a drop to {interface} in {}", ns.name()))?;
        Ok(Self { object })
    }

    /// What it dropped.
    ///
    /// # Errors
    /// When its map cannot be read.
    pub fn dropped(&self) -> Result<StackCount> {
        self.object.count(name::DROPPED, 0)
    }
}

/// An XDP program on an interface that passes every frame. Only with one does a veth take up by itself what the other end
/// sends back (`XDP_TX`): its receive offload makes room for such frames, but wakes nobody for them.
#[derive(Debug)]
pub struct PassAll {
    _object: Object,
}

impl PassAll {
    /// Attaches it, in native mode.
    ///
    /// # Errors
    /// As [`CountDrop::attach`].
    pub fn attach(ns: &Netns, interface: &str) -> Result<Self> {
        let mut object = Object::new()?;
        let program = object.xdp(name::PASS)?;
        ns.in_ns(|| program.attach(interface, XdpMode::Driver))
            .with_context(|| format!("cannot attach a program to {interface} in {}", ns.name()))?;
        Ok(Self { _object: object })
    }
}

/// A classifier at an interface's TCX ingress hook, which is the first that sees a packet after XDP and the first
/// inside the stack: whatever passed is counted here, whatever its shape.
#[derive(Debug)]
pub struct StackCounter {
    object: Object,
}

impl StackCounter {
    /// Attaches it; packets whose Ethernet source is `watched` are counted apart from all others.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses (TCX needs Linux 6.6).
    pub fn attach(ns: &Netns, interface: &str, watched: [u8; 6]) -> Result<Self> {
        let mut object = Object::new()?;
        let [a, b, c, d, e, f] = watched;
        let mut mac: Array<&mut MapData, [u8; 8]> =
            object.ebpf().map_mut(name::WATCHED_MAC).context("no map for the watched MAC")?.try_into()?;
        mac.set(0, [a, b, c, d, e, f, 0, 0], 0).context("cannot set the watched MAC")?;
        let program: &mut SchedClassifier =
            object.ebpf().program_mut(name::STACK_COUNTER).context("no stack counter")?.try_into()?;
        program.load().context("the kernel refused the stack counter")?;
        ns.in_ns(|| program.attach(interface, TcAttachType::Ingress))
            .with_context(|| format!("cannot attach the stack counter to {interface} in {}", ns.name()))?;
        Ok(Self { object })
    }

    /// Packets from the watched MAC.
    ///
    /// # Errors
    /// When its map cannot be read.
    pub fn watched(&self) -> Result<StackCount> {
        self.object.count(name::STACK, 0)
    }

    /// All other packets.
    ///
    /// # Errors
    /// When its map cannot be read.
    pub fn others(&self) -> Result<StackCount> {
        self.object.count(name::STACK, 1)
    }
}

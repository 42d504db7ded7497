//! The contract between a pinned dataplane and the controller that finds it: names, sizes, and the version.
//!
//! A controller only touches pinned objects whose [`ABI_VERSION`] is its own. Raise the version whenever the
//! meaning, size or number of anything in this module, [`crate::verdict`], [`crate::counters`], [`crate::config`] or
//! [`crate::keys`] changes, or where and how [`crate::table`] lays down a key: the next controller changes the tables of
//! this one in place.

/// Version of everything that kernel side and user side must agree on.
pub const ABI_VERSION: u32 = 4;

/// First word of the `LEVEE_META` map: tells a Levee pin directory from anything else ("LEVE" in ASCII).
pub const META_MAGIC: u32 = 0x4c45_5645;

/// Reasons that the counter array has room for.
pub const REASON_SLOTS: usize = 32;

/// Name of the XDP program for frames in one buffer. At most 15 bytes, as the kernel keeps no more.
pub const PROGRAM: &str = "levee";
/// Name of the same program for frames in several buffers (jumbo frames; kernel 5.18 and later).
pub const PROGRAM_FRAGS: &str = "levee_frags";

/// Read-only global that holds [`crate::config::Switches`].
pub const SWITCHES_GLOBAL: &str = "SWITCHES";
/// Read-only global that holds the [`crate::table::Geometry`] of the program's generation.
pub const GEOMETRY_GLOBAL: &str = "GEOMETRY";

/// Counters of sets: one a set number, from 0, which no set has.
pub const SET_SLOTS: u32 = crate::table::slot::MAX_SET + 1;

/// Map names. Each map is declared under this name in `filter-ebpf/src/maps.rs` and pinned under it.
pub mod map {
    /// Array of lines that the controller maps: the prefix tables of one generation ([`crate::table`]).
    pub const LINES: &str = "LINES";
    /// Array of one [`crate::table::Geometry`]; made by the controller, one a generation.
    pub const GEOMETRY: &str = "LEVEE_GEOMETRY";
    /// Per-CPU array of one [`crate::counters::Counters`]; one map an interface.
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array of [`super::SET_SLOTS`] [`crate::counters::Counter`], by set: what it dropped; one map an interface.
    pub const SET_COUNTERS: &str = "SET_COUNTERS";
    /// Array of one [`super::Meta`]; made by the controller.
    pub const META: &str = "LEVEE_META";
    /// Array of one [`super::InterfaceMeta`]; made by the controller, one an interface.
    pub const INTERFACE: &str = "INTERFACE";
}

/// What a controller reads before anything else in a pin directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Meta {
    /// [`META_MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`] of the Levee that made the directory.
    pub abi_version: u32,
}

const _: () = assert!(size_of::<Meta>() == 8);

/// How one interface's program was loaded and attached; lies beside its pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceMeta {
    /// The switches in the program's read-only data.
    pub switches: crate::config::Switches,
    /// The generation that it was attached with.
    pub generation: u32,
    /// 1 when the program takes frames in several buffers, else 0.
    pub frags: u32,
    /// When the interface was attached, in seconds since 1970.
    pub attached_at_s: u64,
    /// Its name then, padded with zeros (`IFNAMSIZ` bytes): what a user calls it by after it left the namespace.
    pub name: [u8; 16],
}

const _: () = assert!(size_of::<InterfaceMeta>() == 48);

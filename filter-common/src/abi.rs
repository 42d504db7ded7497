//! The contract between a pinned dataplane and the controller that finds it: names, sizes, and the version.
//!
//! A controller only touches pinned objects whose [`ABI_VERSION`] is its own. Raise the version whenever the
//! meaning, size or number of anything in this module, [`crate::verdict`], [`crate::counters`], [`crate::config`] or
//! [`crate::keys`] changes.

/// Version of everything that kernel side and user side must agree on.
pub const ABI_VERSION: u32 = 1;

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

/// Map names. Each map is declared under this name in `filter-ebpf/src/maps.rs` and pinned under it.
pub mod map {
    /// Hash: [`crate::keys::KeyV4`] to set id; blocked IPv4 sources.
    pub const BLOCK_V4: &str = "BLOCK_V4";
    /// Hash: [`crate::keys::KeyV6`] to set id; blocked IPv6 sources.
    pub const BLOCK_V6: &str = "BLOCK_V6";
    /// Hash: [`crate::keys::KeyV4`] to set id; allowed IPv4 sources.
    pub const ALLOW_SRC_V4: &str = "ALLOW_SRC_V4";
    /// Hash: [`crate::keys::KeyV6`] to set id; allowed IPv6 sources.
    pub const ALLOW_SRC_V6: &str = "ALLOW_SRC_V6";
    /// Hash: [`crate::keys::KeyV4`] to set id; allowed IPv4 destinations.
    pub const ALLOW_DST_V4: &str = "ALLOW_DST_V4";
    /// Hash: [`crate::keys::KeyV6`] to set id; allowed IPv6 destinations.
    pub const ALLOW_DST_V6: &str = "ALLOW_DST_V6";
    /// Array of one [`crate::table::LengthTable`]: which prefix lengths each table holds.
    pub const LENGTHS: &str = "LENGTHS";
    /// Per-CPU array of one [`crate::counters::Counters`]; one map an interface.
    pub const COUNTERS: &str = "COUNTERS";
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
    /// Prefixes that each block table has room for.
    pub block_capacity: u32,
    /// Prefixes that each allow table has room for.
    pub allow_capacity: u32,
}

const _: () = assert!(size_of::<Meta>() == 16);

/// How one interface's program was loaded and attached; lies beside its pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceMeta {
    /// The switches in the program's read-only data.
    pub switches: crate::config::Switches,
    /// Number of the program load on this interface, from 1.
    pub generation: u32,
    /// 1 when the program takes frames in several buffers, else 0.
    pub frags: u32,
    /// When the interface was attached, in seconds since 1970.
    pub attached_at_s: u64,
    /// Its name then, padded with zeros (`IFNAMSIZ` bytes): what a user calls it by after it left the namespace.
    pub name: [u8; 16],
}

const _: () = assert!(size_of::<InterfaceMeta>() == 48);

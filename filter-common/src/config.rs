//! The policy switches that a program is loaded with.
//!
//! They lie in the program's read-only data, which the kernel freezes before it verifies: a check that is off is
//! dead code and pruned, so it costs nothing. Changing a switch means loading a program.

/// What the program checks beyond structure. Words of 0 or 1, so that any bytes are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Switches {
    /// Drop impossible combinations of TCP flags ([`crate::verdict::Reason::BadTcpFlags`]).
    pub bad_tcp_flags: u32,
    /// Drop multicast, broadcast, loopback and own-destination sources ([`crate::verdict::Reason::BogonSource`]).
    pub bogon_source: u32,
    /// Drop later fragments that nothing else decided about ([`crate::verdict::Reason::Fragment`]).
    pub drop_fragments: u32,
    /// Explicit padding to a multiple of eight bytes.
    pub reserved: u32,
}

impl Switches {
    /// What an interface gets unless told otherwise: all checks on, fragments pass.
    pub const DEFAULT: Self = Self { bad_tcp_flags: 1, bogon_source: 1, drop_fragments: 0, reserved: 0 };
}

impl Default for Switches {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(size_of::<Switches>() == 16);

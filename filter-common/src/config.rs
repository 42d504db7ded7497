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

/// What a policy switches on beyond its rules, whose own part is [`RulesGeometry`](crate::policy::classifier::RulesGeometry).
/// Words, so that any bytes are valid; all zero is no policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PolicySwitches {
    /// Drop what no rule decides about ([`crate::verdict::Reason::DefaultDrop`]).
    pub default_drop: u32,
    /// Rules ban sources, so sources have to be looked up among those that are banned.
    pub bans: u32,
    /// First line of the limits ([`crate::policy::limits`]).
    pub limits: u32,
    /// How many limits there are.
    pub limit_count: u32,
    /// The class of the interface in the rules; 0 where none names it.
    pub interface: u32,
    /// Drop later fragments that nothing else decides about, as [`Switches::drop_fragments`] does.
    pub drop_fragments: u32,
    /// Rules defend services.
    pub defences: u32,
    /// Rules make cookies; of a program, that it may make them without looking for a socket, and so
    /// [notes](crate::policy::syn::connected) who has connections here.
    pub bare_cookies: u32,
}

impl PolicySwitches {
    /// No policy.
    pub const NONE: Self = Self {
        default_drop: 0,
        bans: 0,
        limits: 0,
        limit_count: 0,
        interface: 0,
        drop_fragments: 0,
        defences: 0,
        bare_cookies: 0,
    };
}

const _: () = assert!(size_of::<Switches>() == 16);
const _: () = assert!(size_of::<PolicySwitches>() == 32);

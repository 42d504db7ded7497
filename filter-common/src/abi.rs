//! The contract between a pinned dataplane and the controller that finds it: names, sizes, and the version.
//!
//! A controller only touches pinned objects whose [`ABI_VERSION`] is its own. Raise the version whenever the
//! meaning, size or number of anything in this module, [`crate::verdict`], [`crate::counters`], [`crate::config`] or
//! [`crate::keys`] changes, or where and how [`crate::table`] lays down a key: the next controller changes the tables of
//! this one in place.

/// Version of everything that kernel side and user side must agree on.
pub const ABI_VERSION: u32 = 12;

/// First word of the `LEVEE_META` map: tells a Levee pin directory from anything else ("LEVE" in ASCII).
pub const META_MAGIC: u32 = 0x4c45_5645;

/// Reasons that the counter array has room for.
pub const REASON_SLOTS: usize = 32;

/// Name of the XDP program for frames in one buffer. At most 15 bytes, as the kernel keeps no more.
pub const PROGRAM: &str = "levee";
/// Name of the same program for frames in several buffers (jumbo frames; kernel 5.18 and later).
pub const PROGRAM_FRAGS: &str = "levee_frags";

/// Name of the program that is asked what would become of a packet ([`crate::twin`]), for frames in one buffer.
pub const TWIN_PROGRAM: &str = "levee_twin";
/// Name of the same program for frames in several buffers.
pub const TWIN_PROGRAM_FRAGS: &str = "levee_twin_fr";

/// Name of the program that runs another one on trial, for frames in one buffer; see `filter-ebpf/src/bin/trial.rs`.
pub const TRIAL_PROGRAM: &str = "levee_trial";
/// Name of the same program for frames in several buffers.
pub const TRIAL_PROGRAM_FRAGS: &str = "levee_trial_fr";
/// Place of the program that is on trial.
pub const ON_TRIAL: u32 = 0;
/// Place of the program that runs when the trial is over.
pub const FALLBACK: u32 = 1;
/// Place of the time at which a trial is over, in [`map::TRIAL_END`].
pub const TRIAL_ENDS: u32 = 0;
/// Place of the time that it takes.
pub const TRIAL_TAKES: u32 = 1;
/// Connections that are [watched](crate::trial) on an interface while a trial lasts. Where there are more, one that sent nothing for
/// longest gives way.
pub const MAX_WATCHED: u32 = 1 << 14;
/// Prefixes that lists block since a trial began. Where there are more, the trial hands nothing more to what was before it.
pub const MAX_BLOCKED_SINCE: u32 = 1 << 12;

/// Read-only global that holds [`crate::config::Switches`].
pub const SWITCHES_GLOBAL: &str = "SWITCHES";
/// Read-only global that holds the [`crate::table::Geometry`] of the program's generation.
pub const GEOMETRY_GLOBAL: &str = "GEOMETRY";

/// Read-only global that holds the [`crate::policy::classifier::RulesGeometry`] of the program's generation.
pub const RULES_GLOBAL: &str = "RULES";
/// Read-only global that holds [`crate::config::PolicySwitches`].
pub const POLICY_GLOBAL: &str = "POLICY";

/// Counters of rules, where a policy has rules: those of two policies at once, so that one on trial takes none from the
/// one that it may give way to.
pub const RULE_SLOTS: u32 = 2 * crate::policy::classifier::MAX_RULES;
/// Sources that can be banned at a time. Where there are more, the one that sent nothing for longest gives way.
pub const MAX_BANS: u32 = 1 << 16;
/// Exchanges that this host has begun which are known at a time. Where there are more, one that was not looked up for long
/// gives way.
pub const MAX_ASKED: u32 = 1 << 16;
/// Hosts that it has sent UDP to, likewise.
pub const MAX_ASKED_HOSTS: u32 = 1 << 17;
/// Name of the program that notes what leaves; see `filter-ebpf/src/bin/asked.rs`.
pub const ASKED_PROGRAM: &str = "levee_asked";

/// Addresses of this host that are known at most; what is for others is taken for no socket's matter.
pub const MAX_OWN_ADDRESSES: u32 = 1 << 12;

/// Bytes of a packet that a sample shows at most.
pub const SAMPLE_BYTES: u32 = 256;

/// Counters of sets: one a set number, from 0, which no set has.
pub const SET_SLOTS: u32 = crate::table::slot::MAX_SET + 1;

/// Map names. Each map is declared under this name in `filter-ebpf/src/maps` and pinned under it.
pub mod map {
    /// Array that the controller maps: the lines of one generation ([`crate::table`]), in one
    /// element or several ([`crate::table::Geometry::element_lines`]).
    pub const LINES: &str = "LINES";
    /// Array of one [`crate::table::Geometry`]; made by the controller, one a generation.
    pub const GEOMETRY: &str = "LEVEE_GEOMETRY";
    /// Array of one pair of numbers: the digest of the policy that programs were loaded with, and 1 where they note
    /// [connections](crate::policy::syn::connected); made by the controller, one a generation that has a policy.
    pub const POLICY: &str = "LEVEE_POLICY";
    /// Per-CPU array of one [`crate::counters::Counters`]; one map an interface.
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array of [`super::SET_SLOTS`] [`crate::counters::Counter`], by set: what it dropped; one map an interface.
    pub const SET_COUNTERS: &str = "SET_COUNTERS";
    /// Per-CPU array of [`super::RULE_SLOTS`] [`crate::counters::RuleCounter`]; one map an interface, made with the first rules.
    pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
    /// Array of lines: the token buckets of all limits of a policy, shared by all interfaces ([`crate::policy::limiter`]).
    pub const BUCKETS: &str = "BUCKETS";
    /// LRU hash of [`super::AddressKey`] to the time at which the ban ends, in nanoseconds of the monotonic clock; shared by all
    /// interfaces.
    pub const BANS: &str = "BANS";
    /// LRU hash of [`crate::policy::asked::AskedKey`] to the time at which this host last sent something of that exchange, in
    /// nanoseconds of the coarse monotonic clock; shared by all interfaces.
    pub const ASKED: &str = "ASKED";
    /// The same of hosts that it sent any UDP to.
    pub const ASKED_HOSTS: &str = "ASKED_HOSTS";
    /// Array of [`crate::policy::asked::WATCHED_WORDS`] words: a bit for each port of UDP whose answers rules want to know;
    /// shared by all interfaces.
    pub const WATCHED: &str = "WATCHED";
    /// Array of [`super::RULE_SLOTS`] times, by the rule's counters, until which the gate of its defence is open, in
    /// nanoseconds of the monotonic clock; shared by all interfaces.
    pub const SYN_GATES: &str = "SYN_GATES";
    /// Array of one [`super::SynSecrets`]; shared by all interfaces.
    pub const SYN_SECRETS: &str = "SYN_SECRETS";
    /// Array of [`crate::policy::syn::SOURCE_LINES`] lines: sources that answered a challenge, and until when each is let
    /// through; then sources that have [connections](crate::policy::syn::connected) here; shared by all interfaces.
    pub const VERIFIED: &str = "VERIFIED";
    /// Array of [`crate::policy::claimed::LINES`] lines: what sockets were found for of late; shared by all interfaces.
    pub const CLAIMED: &str = "CLAIMED";
    /// Hash of [`super::AddressKey`], by addresses of this host, to nothing that is read; shared by all interfaces.
    pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
    /// Per-CPU array of one [`crate::policy::scratch::Scratch`]: where a packet's facts lie while rules look at them.
    pub const SCRATCH: &str = "SCRATCH";
    /// Perf event array by which samples reach whoever listens; shared by all interfaces.
    pub const SAMPLES: &str = "SAMPLES";
    /// Array of two numbers, in nanoseconds: [when](super::TRIAL_ENDS) the trial of a generation is over, by the monotonic clock, and
    /// [how long](super::TRIAL_TAKES) it takes in all. One map for each interface of such a generation.
    pub const TRIAL_END: &str = "TRIAL_END";
    /// Program array of the program that is on trial and the one that runs when that is over: [`super::ON_TRIAL`] and
    /// [`super::FALLBACK`]. One map for each interface of such a generation.
    pub const TRIAL_TARGETS: &str = "TRIAL_TARGETS";
    /// LRU hash of [`crate::trial::Watched`] by connection. One map for each interface, for as long as a trial lasts.
    pub const TRIAL_WATCHED: &str = "TRIAL_WATCHED";
    /// LPM trie of [`crate::trial::trie_words`], to nothing that is read: what lists block since a trial began. One map for each
    /// interface, for as long as a trial lasts.
    pub const TRIAL_BLOCKED: &str = "TRIAL_BLOCKED";
    /// Array of one [`crate::twin::TwinCell`] that the controller maps; a twin's own, never pinned.
    pub const TWIN: &str = "TWIN";
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

/// An address, as a key: of a banned source, or of this host. An IPv4 address is the lower half of the first word, as in
/// [`crate::policy::observed::Observed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct AddressKey {
    /// The address.
    pub address: [u64; 2],
    /// One of [`crate::policy::observed::family`].
    pub family: u64,
}

const _: () = assert!(size_of::<AddressKey>() == 24);

/// The secrets of the SYN defence. Of those that challenges are made with, the controller writes the one that is not in use,
/// then says that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SynSecrets {
    /// Two keys.
    pub keys: [[u64; 2]; 2],
    /// Which of them challenges are made with: 0 or 1. What was made with the other is accepted.
    pub current: u64,
    /// The words of the [`KeyHasher`](crate::policy::limiter::KeyHasher) that verified sources are found by. They stay.
    pub places: [u64; 4],
}

const _: () = assert!(size_of::<SynSecrets>() == 72);

/// What a sample says of its packet, whose first bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SampleHead {
    /// When, in nanoseconds of the coarse monotonic clock.
    pub at_ns: u64,
    /// The number of the rule's counters.
    pub rule: u32,
    /// Index of the interface that it came in by.
    pub ifindex: u32,
    /// Bytes of the frame.
    pub bytes: u32,
    /// Bytes of it that follow.
    pub captured: u32,
}

const _: () = assert!(size_of::<SampleHead>() == 24);

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

//! The values that rules are made of. Each holds only what is in bounds, whoever made it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{FRAME_BITS, MAX_NAME, MAX_PAYLOAD};

/// The name of a rule: 1 to 63 letters, digits, `_`, `.` and `-`; of a profile's rule that of the profile, `/`, and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName(Arc<str>);

impl RuleName {
    /// `text` as a name, if it can be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// What a policy calls a rule of a profile; no rule of its own has a name with a `/`.
    pub(super) fn of_profile(profile: &str, rule: &Self) -> Self {
        Self(format!("{profile}/{rule}").into())
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// The name of a network interface, as the kernel allows it: 1 to 15 bytes without blanks, `/` and `:`. Levee wants
/// printable ASCII without quotation marks, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(Arc<str>);

impl InterfaceName {
    /// `text` as a name, if it can be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:\"".contains(&byte);
        let fits = (1..=15).contains(&text.len()) && text.bytes().all(allowed) && !matches!(text, "." | "..");
        fits.then(|| Self(text.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// An Ethernet address, as it stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// `text` as an address: six bytes of two hexadecimal digits, between colons.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// TCP flags: those in `mask` are looked at, and are as in `value`. From FIN (0x01) up to CWR (0x80).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    value: u8,
    mask: u8,
}

impl TcpFlags {
    /// `value` within `mask`; `None` where the mask is empty or does not cover the value.
    #[must_use]
    pub const fn new(value: u8, mask: u8) -> Option<Self> {
        if mask != 0 && value & !mask == 0 { Some(Self { value, mask }) } else { None }
    }

    /// What the flags in the mask are.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.value
    }

    /// The flags that are looked at.
    #[must_use]
    pub const fn mask(self) -> u8 {
        self.mask
    }

    /// Whether a packet with these flags is meant.
    #[must_use]
    pub const fn holds(self, flags: u8) -> bool {
        flags & self.mask == self.value
    }
}

/// IPv6 extension headers, a bit each: hop-by-hop 0x01, routing 0x02, fragment 0x04, destination 0x08, AH 0x10,
/// mobility 0x20, HIP 0x40, shim6 0x80. A packet is meant that has any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtensionHeaders(u8);

impl ExtensionHeaders {
    /// These; `None` if there are none.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// Which parts of an IP packet are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentStates(u8);

impl FragmentStates {
    /// Packets that are no fragments.
    pub const NO: u8 = 0x01;
    /// First fragments, and IPv6 atomic ones (RFC 6946).
    pub const FIRST: u8 = 0x02;
    /// Later fragments, which have no ports.
    pub const LATER: u8 = 0x04;
    /// Every IP packet.
    pub const ALL: u8 = Self::NO | Self::FIRST | Self::LATER;

    /// These, any of which may hold; `None` if there are none or others.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if bits == 0 || bits & !Self::ALL != 0 { None } else { Some(Self(bits)) }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// Bytes of a payload: from `offset` on, those bits that the mask has are as in the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    offset: u8,
    value: Box<[u8]>,
    mask: Box<[u8]>,
}

impl Payload {
    /// `value` within `mask`, each of the same 1 to 16 bytes; `None` where the mask is empty or does not cover the value.
    #[must_use]
    pub fn new(offset: u8, value: &[u8], mask: &[u8]) -> Option<Self> {
        let sized = (1..=MAX_PAYLOAD).contains(&value.len()) && value.len() == mask.len();
        let covered = value.iter().zip(mask).all(|(value, mask)| value & !mask == 0);
        let fits = sized && covered && mask.iter().any(|byte| *byte != 0);
        fits.then(|| Self { offset, value: value.into(), mask: mask.into() })
    }

    /// Bytes of the payload before those that are compared.
    #[must_use]
    pub const fn offset(&self) -> u8 {
        self.offset
    }

    /// What the bits in the mask are.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The bits that are looked at.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// Bytes that a payload needs for this to be looked at.
    #[must_use]
    pub fn end(&self) -> usize {
        usize::from(self.offset) + self.value.len()
    }
}

/// A part of a whole, from 0 to 1, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    part: u32,
    whole: u32,
}

impl Ratio {
    /// `part` of `whole`; `None` above 1 or of nothing.
    #[must_use]
    pub const fn new(part: u32, whole: u32) -> Option<Self> {
        if whole == 0 || part > whole {
            return None;
        }
        let (mut divisor, mut rest) = (whole, part);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        Some(Self { part: part / divisor, whole: whole / divisor })
    }

    /// The part.
    #[must_use]
    pub const fn part(self) -> u32 {
        self.part
    }

    /// What it is a part of.
    #[must_use]
    pub const fn whole(self) -> u32 {
        self.whole
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.part == 0
    }

    /// Whether it is all.
    #[must_use]
    pub const fn is_one(self) -> bool {
        self.part == self.whole
    }

    /// How many of 2^32 random numbers are below it: a number drawn from all `u32` hits when it is less than this.
    #[must_use]
    pub const fn of_u32(self) -> u64 {
        ((self.part as u64) << 32) / self.whole as u64
    }
}

/// How much may come in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Packets a second.
    Packets(u64),
    /// Packets a minute.
    PacketsAMinute(u64),
    /// Bits a second, of frames from their Ethernet header on, as Levee's byte counters have them.
    Bits(u64),
}

impl Rate {
    /// The burst of a limit that names none: what one second brings, and at least one packet.
    #[must_use]
    pub fn default_burst(self) -> u64 {
        match self {
            Self::Packets(rate) => rate.max(1),
            Self::PacketsAMinute(rate) => rate.div_ceil(60).max(1),
            Self::Bits(rate) => rate.max(FRAME_BITS),
        }
    }
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each source prefix of these lengths; 32 and 128 are single addresses.
    Source {
        /// Bits of an IPv4 prefix, from 1 to 32.
        v4: u8,
        /// Bits of an IPv6 prefix, from 1 to 128.
        v6: u8,
    },
    /// Each destination address.
    Destination,
    /// Each destination address, protocol and destination port; the port is 0 where a packet has none.
    Service,
    /// All packets that the rule matches together.
    Total,
}

impl Per {
    /// Each source address.
    pub const SOURCE: Self = Self::Source { v4: 32, v6: 128 };

    /// What `source/BITS` means: for up to 32 bits IPv4 prefixes of that length and IPv6 prefixes of twice as many bits,
    /// so that `/32` goes with the `/64` that one IPv6 host has; for more, IPv6 prefixes and IPv4 addresses.
    #[must_use]
    pub const fn source_prefix(bits: u8) -> Self {
        if bits <= 32 { Self::Source { v4: bits, v6: bits * 2 } } else { Self::Source { v4: 32, v6: bits } }
    }
}

/// What a service does about SYNs while it is flooded with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Defence {
    /// What it does.
    pub by: DefendBy,
    /// When; always, where nothing is said.
    pub above: Option<Above>,
}

/// How a service is defended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefendBy {
    /// SYNs are answered with the kernel's SYN cookies.
    Cookie,
    /// Unknown sources are asked whether they are there; those that are, are let through for that long, in whole seconds.
    Verify(Duration),
    /// SYNs over a limit are dropped.
    Limit(Limit),
}

impl DefendBy {
    /// How long a source that answered is let through, where nothing is said.
    pub const TRUST: Duration = Duration::from_secs(3600);
}

/// The flood from which on a service is defended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Above {
    /// SYNs a second that begin it. Half of them keep it up.
    pub rate: u64,
    /// For how long it goes on when fewer come, in whole seconds.
    pub hold: Duration,
}

impl Above {
    /// For how long, where nothing is said.
    pub const HOLD: Duration = Duration::from_secs(10);
}

/// A token bucket: what is over it is dropped, what is within goes on to the next rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What fills the bucket.
    pub rate: Rate,
    /// What the bucket holds, in packets or bits like the rate.
    pub burst: u64,
    /// What has a bucket of its own.
    pub per: Per,
}

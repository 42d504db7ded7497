//! What every number, name and list of a policy may be: the one place that says so.

use super::error::Fault;
use crate::feeds::Quoted;

/// Rules in a policy.
pub const MAX_RULES: usize = 4096;
/// Values in one list of a rule.
pub const MAX_VALUES: usize = 64;
/// Prefixes that `protect` names.
pub const MAX_PROTECTED: usize = 1024;
/// Bytes in a policy's text.
pub const MAX_TEXT: usize = 8 << 20;
/// Bytes in a rule's name.
pub const MAX_NAME: usize = 63;
/// Bytes that a rule compares of a payload.
pub const MAX_PAYLOAD: usize = 16;
/// Bits of the smallest burst that lets every frame of 1,500 bytes of IP through, with its Ethernet header and a tag.
pub const FRAME_BITS: u64 = 1518 * 8;

/// The lowest and highest value of a number, and how messages call them.
#[derive(Debug)]
pub(super) struct Bound {
    what: &'static str,
    range: &'static str,
    low: u64,
    high: u64,
}

impl Bound {
    const fn new(what: &'static str, range: &'static str, low: u64, high: u64) -> Self {
        Self { what, range, low, high }
    }

    /// The value, if it is in bounds.
    pub(super) fn check(&self, value: u64, written: &str) -> Result<u64, Fault> {
        if (self.low..=self.high).contains(&value) { Ok(value) } else { Err(self.fault(written)) }
    }

    /// That `written` is not in bounds.
    pub(super) fn fault(&self, written: &str) -> Fault {
        Fault::unexpected(Quoted::new(written), format!("{} from {}", self.what, self.range))
    }

    /// The highest value.
    pub(super) const fn high(&self) -> u64 {
        self.high
    }
}

pub(super) static ETHER_TYPE: Bound = Bound::new("an EtherType", "0 to 0xffff", 0, 0xffff);
pub(super) static VLAN: Bound = Bound::new("a VLAN id", "0 to 4095", 0, 4095);
pub(super) static PROTOCOL: Bound = Bound::new("a protocol number", "0 to 255", 0, 255);
pub(super) static PORT: Bound = Bound::new("a port", "0 to 65535", 0, 65535);
pub(super) static ICMP_TYPE: Bound = Bound::new("an ICMP type", "0 to 255", 0, 255);
pub(super) static ICMP_CODE: Bound = Bound::new("an ICMP code", "0 to 255", 0, 255);
pub(super) static LENGTH: Bound = Bound::new("a packet length", "0 to 65535", 0, 65535);
pub(super) static TTL: Bound = Bound::new("a TTL", "0 to 255", 0, 255);
pub(super) static DSCP: Bound = Bound::new("a DSCP", "0 to 63", 0, 63);
pub(super) static OFFSET: Bound = Bound::new("a payload offset", "0 to 255", 0, 255);
pub(super) static PACKET_RATE: Bound = Bound::new("a rate", "1/s to 10G/s", 1, 10_000_000_000);
/// Of slower ones a flood would take more than one packet in a thousand with the 8 MiB that a limit has ([`filter_common::policy::limiter::size`]).
pub(super) static MINUTE_RATE: Bound = Bound::new("a rate", "5/minute to 10G/minute", 5, 10_000_000_000);
pub(super) static BIT_RATE: Bound = Bound::new("a rate", "1kbit/s to 10Tbit/s", 1_000, 10_000_000_000_000);
pub(super) static PACKET_BURST: Bound = Bound::new("a burst", "1 to 10G packets", 1, 10_000_000_000);
pub(super) static BIT_BURST: Bound = Bound::new("a burst", "1kbit to 10Tbit", 1_000, 10_000_000_000_000);
pub(super) static V4_BITS: Bound = Bound::new("an IPv4 prefix length", "1 to 32", 1, 32);
pub(super) static V6_BITS: Bound = Bound::new("a prefix length", "1 to 128", 1, 128);
/// Whole seconds, as expiries are kept in.
pub(super) static BAN: Bound = Bound::new("a duration", "1s to 10 years", 1, 10 * 31_557_600);
pub(super) static HOLD: Bound = Bound::new("a duration", "1s to 1h", 1, 3600);
pub(super) static TRUST: Bound = Bound::new("a duration", "1s to 1 week", 1, 7 * 86_400);
pub(super) static FRACTION: Bound = Bound::new("a fraction", "0 to 1", 0, 1);
pub(super) static SET_ENTRIES: Bound =
    Bound::new("a number of entries", "1 to 4294967295", 1, u32::MAX as u64);

//! The SYN defence: what becomes of first segments of connections to a service while it is flooded with them.
//!
//! **What it decides.** A rule with the action `defend` meets SYNs, and resets, of a service. Its gate says whether the
//! service is under attack; while it is not, the defence does nothing. Then, by [`Mode`]:
//!
//! * `cookie`, for sockets of this host: the SYN is answered with the kernel's own SYN cookie, made by the kernel for the
//!   socket that listens, so that the kernel takes the connection up when the third segment comes. Nothing is kept.
//!   The cookie says the maximum segment size and no more: an option that the answer does not offer (window scale,
//!   selective acknowledgement, timestamps) is not used in that connection. The kernel could carry those in its timestamps,
//!   but it shifts them by a secret for each pair of addresses, which no program is told. To look for the sockets of a SYN takes
//!   longer than the cookie itself. So where the kernel makes one for every SYN, a socket that was seen to take cookies is not looked for again for a
//!   [moment](SEEN_TICKS), and whether the connection is there already is looked up only for sources that have [connections](connected) here.
//! * `verify`, for whatever is behind this host: a source that is not known gets a SYN-ACK that acknowledges what it never
//!   sent. A stack that waits for an answer has to reset that (RFC 9293, section 3.10.7.3), with the number that was
//!   acknowledged, and tries again by itself (Linux at once, others within 1 to 3 s). The number is a keyed hash of
//!   addresses and ports ([`siphash`]), so nothing is kept before the answer; the source of a reset that has it is let
//!   through for a while. A source that was spoofed never sees the number.
//! * `limit`: SYNs over a limit are dropped, by the buckets that all limits have.
//!
//! What it lets through goes on to the next rule.
//!
//! **The gate** ([`is_open`]) opens when more SYNs come than a rate, and closes when for a while no more than half of that
//! came: two token buckets, and the time until which it is open. A defence without a rate is always open.
//!
//! **What it trusts.** The parser for offsets, the clock to go forward, and that secrets are not known outside. A secret is
//! in use for as long as the controller takes to change it twice, so an answer may take that long; without a controller it
//! stays.
//!
//! **What it costs.** Nothing for packets that the rule's conditions do not match, but what [notes of connections](connected) take. A reset where sources are verified: the clock
//! and one or two hashes, unless the gate has been closed for long. A SYN: its record's line; where there is a gate the clock,
//! a map look-up and a bucket; then for `limit` the clock and a bucket, for `cookie` the kernel's two
//! hashes (and for some sources, and now and then, a socket look-up), for `verify` a look for the [verified] source (a hash, and one line or two) and another hash; and writing some
//! 60 bytes.

pub mod connected;
pub mod reply;
pub mod siphash;
pub mod verified;

use super::classifier::{Effects, OutcomeKind};
use super::observed::{Observed, family};
use crate::parse::PacketRead;
use crate::parse::tcp_flag::{ACK, FIN, RST, SYN};

/// For how long after the last challenge its answer can come: secrets are in use for twice the time between their changes.
const ANSWER_NS: u64 = 128 * 1_000_000_000;

/// Lines of the map of sources: those that answered a challenge, and behind them those that have connections here.
pub const SOURCE_LINES: u32 = verified::LINES + connected::UNTIL_LINE + 1;

/// For how many of the kernel's ticks a socket that took a cookie is not looked for again: from 64 to 640 ms. The kernel accepts
/// cookies of a socket for two minutes after the last that it made itself; what listens no longer is noticed after this.
pub const SEEN_TICKS: u64 = 64;

/// Bytes of the fixed headers.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

/// Whether a defence looks at segments with these flags: SYNs, and, if it verifies, resets that acknowledge nothing.
#[must_use]
pub const fn concerns(flags: u8, verifies: bool) -> bool {
    let kind = flags & (FIN | SYN | RST | ACK);
    kind == SYN || kind == RST && verifies
}

/// What a defence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Mode {
    /// Answers with the kernel's SYN cookie.
    Cookie,
    /// Asks unknown sources whether they are there.
    Verify,
    /// Drops what is over a limit.
    Limit,
}

/// When a defence is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The number of the limit that opens it; that of the next keeps it open.
    pub limit: u32,
    /// Seconds for which it stays open.
    pub hold_s: u16,
}

/// A defence, as the last two words of its rule's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Defence {
    /// What it does.
    pub mode: Mode,
    /// When; always, where there is none.
    pub gate: Option<Gate>,
    /// Seconds for which a source that answered is let through.
    pub trust_s: u32,
}

/// Set in the first word where there is a gate.
const HAS_GATE: u64 = 1 << 8;

impl Defence {
    /// The words: the mode, [`HAS_GATE`], seconds of the gate from bit 16 on, seconds of trust in the upper half; the gate's
    /// limit.
    #[must_use]
    pub fn words(&self) -> [u64; 2] {
        let gate = self.gate.map_or(0, |gate| HAS_GATE | u64::from(gate.hold_s) << 16);
        let limit = self.gate.map_or(0, |gate| u64::from(gate.limit));
        [self.mode as u64 | gate | u64::from(self.trust_s) << 32, limit]
    }
}

/// What a defence is told, and does.
pub trait Defender: Effects {
    /// The time until which the gate with the rule of these counters is open, in nanoseconds.
    fn open_until(&mut self, counter: u32) -> u64;
    /// Keeps it open until then.
    fn open(&mut self, counter: u32, until: u64);
    /// The time until which the packet's source is let through as it has answered; 0 where it is not known.
    fn verified_until(&mut self) -> u64;
    /// The packet's source has answered; it is let through until then.
    fn verify(&mut self, now: u64, until: u64);
    /// What [`challenge`] makes of the packet with the secret of now, or with the one before.
    fn number(&mut self, segment: &Segment, before: bool) -> u32;
    /// The kernel's cookie for this SYN and, in the upper half, the maximum segment size that it says; `None` where no
    /// socket listens or it takes none. Where it is not to be made, 0 in place of it: the kernel takes note of those that are.
    fn cookie(&mut self, segment: &Segment, is_made: bool) -> Option<u64>;
    /// Makes the packet an answer to itself; whether that could be done.
    fn answer(&mut self, segment: &Segment, answer: reply::Answer) -> bool;
    /// The segment.
    fn segment(&mut self) -> Segment;
}

/// What a defence looks at of a TCP segment. Numbers alone, all always set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of the TCP header.
    pub transport: u32,
    /// Source port in the upper half, destination port in the lower.
    pub ports: u32,
    /// Its sequence number.
    pub sequence: u32,
    /// Bytes of the TCP header in the upper half, flags in the lower byte.
    pub flags: u32,
    /// 1 where the IP header is followed by the TCP header, and the packet is whole: what can be answered.
    pub is_plain: u32,
}

impl Segment {
    /// Of an observed packet; all zero where it is cut off.
    #[inline(always)]
    pub fn of<P: PacketRead>(packet: &P, observed: &Observed) -> Self {
        let (network, transport) = observed.offsets();
        let at = transport as usize;
        let ports = packet.read(at).unwrap_or(0);
        let sequence = packet.read(at + 4).unwrap_or(0);
        let word = u32::from(packet.read::<u16>(at + 12).unwrap_or(0));
        let header = if observed.family == family::V4 { IPV4_HEADER } else { IPV6_HEADER };
        let is_plain = observed.is_whole() && transport.wrapping_sub(network) == header;
        Self {
            network,
            transport,
            ports,
            sequence,
            flags: word >> 12 << 18 | word & 0xff,
            is_plain: u32::from(is_plain),
        }
    }

    /// Bytes of the TCP header.
    #[inline(always)]
    #[must_use]
    pub const fn header(&self) -> u32 {
        self.flags >> 16
    }
}

/// What becomes of a segment under a defence; [`OutcomeKind::None`] where it goes on to the next rule.
///
/// `words` are those of [`Defence::words`], `limit` the rule's own, `counter` that of its counters. Where the rule only
/// counts, nothing is answered. `clock` is asked where the time is of matter: neither for a cookie nor for a challenge to a
/// source that is not known, if there is no gate.
#[inline(always)]
pub fn defend<E: Defender>(
    effects: &mut E,
    words: [u64; 2],
    (limit, counter): (u32, u32),
    counts_only: bool,
    mut clock: impl FnMut(&mut E) -> u64,
) -> OutcomeKind {
    let mode = (words[0] & 0xff) as u32;
    let segment = effects.segment();
    if segment.flags & RST as u32 != 0 {
        if mode != Mode::Verify as u32 {
            return OutcomeKind::None;
        }
        let now = clock(effects);
        // No challenge was made since the secrets of now are in use: nothing to compute.
        let is_challenging = words[0] & HAS_GATE == 0 || effects.open_until(counter) + ANSWER_NS > now;
        return if is_challenging {
            reset(effects, &segment, words[0] >> 32, now)
        } else {
            OutcomeKind::None
        };
    }
    if words[0] & HAS_GATE != 0 {
        let gate_limit = (words[1] & 0xffff_ffff) as u32;
        let now = clock(effects);
        if !is_open(effects, gate_limit, counter, words[0] >> 16 & 0xffff, now) {
            return OutcomeKind::None;
        }
    }
    if mode == Mode::Limit as u32 {
        let now = clock(effects);
        return if effects.is_over(limit, now) { OutcomeKind::SynLimit } else { OutcomeKind::None };
    }
    if mode == Mode::Verify as u32 {
        let until = effects.verified_until();
        if until != 0 && until > clock(effects) {
            return OutcomeKind::None;
        }
    }
    if segment.is_plain == 0 {
        return OutcomeKind::Unanswerable;
    }
    let (answer, kind) = if mode == Mode::Verify as u32 {
        let number = effects.number(&segment, false);
        (reply::Answer::challenge(&segment, number), OutcomeKind::Challenge)
    } else {
        let Some(cookie) = effects.cookie(&segment, !counts_only) else { return OutcomeKind::None };
        (reply::Answer::cookie(&segment, cookie), OutcomeKind::Cookie)
    };
    if counts_only || effects.answer(&segment, answer) { kind } else { OutcomeKind::Unanswerable }
}

/// A reset: whether it answers a challenge, which verifies its source.
#[inline(always)]
fn reset<E: Defender>(effects: &mut E, segment: &Segment, trust_s: u64, now: u64) -> OutcomeKind {
    let differs = |number| (segment.sequence ^ number) & !reply::OTHER != 0;
    if differs(effects.number(segment, false)) && differs(effects.number(segment, true)) {
        return OutcomeKind::None;
    }
    effects.verify(now, now + trust_s * 1_000_000_000);
    OutcomeKind::Answer
}

/// The number that a challenge acknowledges: of addresses and ports.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "half of a hash")]
pub fn challenge(observed: &Observed, ports: u32, secret: [u64; 2]) -> u32 {
    let Observed { source, destination, .. } = observed;
    let hash = if observed.family == family::V4 {
        siphash::of_12_bytes(secret, source[0] << 32 | destination[0], ports)
    } else {
        siphash::of_36_bytes(secret, [source[0], source[1], destination[0], destination[1]], ports)
    };
    hash as u32
}

/// Whether the defence is on: more SYNs came than the rate of the limit, or, if it is on already, than that of the next in the
/// last `hold_s` seconds. The time is written at most every eighth of that, so that CPUs seldom share its line.
#[inline(always)]
pub fn is_open<E: Defender>(effects: &mut E, limit: u32, counter: u32, hold_s: u64, now: u64) -> bool {
    let hold = hold_s * 1_000_000_000;
    let until = effects.open_until(counter);
    // One that is open for longer than this one holds was opened by a rule that is gone, whose counters this one has now.
    if until > now && until - now <= hold {
        if effects.is_over(limit + 1, now) && until - now < hold - hold / 8 {
            effects.open(counter, now + hold);
        }
        return true;
    }
    let opens = effects.is_over(limit, now);
    if opens {
        effects.open(counter, now + hold);
    }
    opens
}

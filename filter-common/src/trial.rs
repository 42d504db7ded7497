//! Which segments of open connections meet the former program while another is on trial.
//!
//! **What it decides.** A policy on trial may cut off the very session that it was applied in. When the trial is over
//! the packets of that session pass again, but TCP may not send any for as long again as it was cut off: its sender
//! doubles the time between two tries each time that nothing is acknowledged. So of a connection that is [cut
//! off](IS_CUT) a try gets through by the former program now and then: none in the first half of the trial, one in
//! the first half of what is left then, one in the first half of what is left after that, and so on; and in the last
//! second ([`LAST_NS`]) the first one. What follows it gets through as well, for the sixteenth part of what is left
//! ([`OPEN_PART`]; behind an acknowledgement a quarter), in the last second to the end, and at least until something
//! new was sent: a sender without timestamps forgets that it waits longer only when it has measured what was sent
//! once (RFC 6298, section 3).
//!
//! A sender whose shortest time to wait is R, 0.2 s on most networks, so goes on R after the trial at the latest, and
//! 2 R where it loses something first just before the end. For if something gets through, or is lost first, with a
//! time t left, tries are held up for t/2 at most; the first one after that comes by 2 (t/2) + R: while the trial
//! lasts, and then it gets through, or no more than R after it. Whoever only reads is written to by a host that
//! waits, too: it measures the pause as part of its path, and forgets it by what it measures in the quarter that its
//! acknowledgements get through. No bound is known for that; downloads went on half a second after the trial at the
//! latest.
//!
//! A connection counts as cut off once it sends again what it has sent a quarter of a second ago ([`STALLS_NS`]), and
//! nothing new since. One that the policy on trial serves does not, but for one whose network stalls, or that is kept
//! alive by empty segments; where the former policy drops what the one on trial lets in, that one loses what it sends
//! then.
//!
//! **What it trusts.** That it is asked only of connections that the kernel has a socket for, so that a flood of
//! segments of none gets nothing through. Whoever knows the addresses and ports of one can get segments through in
//! its name, as before the trial, and no others: what passes, passed then. Whom lists block since, the controller
//! tells, and their segments are not let through ([`trie_words`]); where that does not do, it ends all of this: a
//! trial that [takes](Left::whole_ns) no time lets nothing through.
//!
//! **What it costs.** While a trial lasts: for each segment that is no SYN and no reset a look-up among the [`Watched`],
//! of which each interface has [`MAX_WATCHED`](crate::abi::MAX_WATCHED); for the first of each connection, and for
//! those of none, a look-up of a socket: some 110 ns.

use crate::policy::observed::family;

/// The last of a trial: about a second, in nanoseconds. Of a short trial its second half.
const LAST_NS: u64 = 1 << 30;
/// How long nothing new was sent where what is sent again tells that the connection is cut off: about a quarter of a
/// second.
const STALLS_NS: u64 = 1 << 28;
/// The part of what is left for which a connection goes on once data got through.
const OPEN_PART: u32 = 16;
/// The same once an acknowledgement did: the host has to forget that it measured the pause.
const OPEN_PART_OF_READERS: u32 = 4;
/// What is left is noted in units of 2^20 ns, about a millisecond: 51 days have room.
const UNIT_BITS: u32 = 20;

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Nanoseconds to its end.
    pub left_ns: u64,
    /// Nanoseconds that it takes in all; 0 where nothing is to be let through.
    pub whole_ns: u64,
}

impl Left {
    /// How often the whole was halved to come to what is left, rounded down.
    #[inline(always)]
    const fn halvings(self) -> u32 {
        match self.whole_ns.checked_div(self.left_ns) {
            Some(quotient) => (quotient | 1).ilog2(),
            None => u64::BITS,
        }
    }

    /// What is left, in units.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the most is meant where there is more")]
    const fn units(self) -> u32 {
        let units = self.left_ns >> UNIT_BITS;
        if units > u32::MAX as u64 { u32::MAX } else { units as u32 }
    }
}

/// What counts of a segment of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledges: u32,
    /// Whether it takes up sequence numbers: it has data, or is the last.
    pub has_data: bool,
}

/// What is known of a connection since a trial began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Watched {
    /// The highest sequence number of data.
    newest: u32,
    /// The first data that was new since some was let through, later what else is sent again: its sender waits for
    /// that.
    oldest: u32,
    /// What was acknowledged last.
    acknowledged: u32,
    /// What was left when something new was sent last, in units.
    progress: u32,
    /// Until so much is left all is let through, in units; [`CLOSED`] where nothing is.
    open: u32,
    /// The [halvings](Left::halvings) when data got a turn last, and above them when acknowledgements did,
    /// [`TURN_BITS`] each; then [`IS_CUT`], [`IS_FRESH`] and [`OWES`].
    state: u32,
}

const _: () = assert!(size_of::<Watched>() == 24);

const TURN_BITS: u32 = 8;
const TURN: u32 = (1 << TURN_BITS) - 1;
/// The connection is cut off.
const IS_CUT: u32 = 1 << (2 * TURN_BITS);
/// No new data since some was let through, or since the connection is known: all up to the newest is sent again.
const IS_FRESH: u32 = IS_CUT << 1;
/// Something got a turn, and nothing new was let through since.
const OWES: u32 = IS_CUT << 2;
/// Above all that can be left.
const CLOSED: u32 = u32::MAX;

/// What a segment is, as far as its connection is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Something that was not there before.
    New,
    /// It is sent again, and may only ask whether the end of what was sent has arrived (RFC 8985, section 7).
    Probe,
    /// It is sent again, and waited for.
    Again,
}

impl Watched {
    /// A connection whose first segment this is.
    #[inline(always)]
    #[must_use]
    pub const fn begun(segment: Segment, left: Left) -> Self {
        let Segment { sequence, acknowledges, has_data } = segment;
        let turns = left.halvings() | left.halvings() << TURN_BITS;
        // An acknowledgement has the number of the data that is still to come.
        let (newest, state) =
            if has_data { (sequence, turns) } else { (sequence.wrapping_sub(1), turns | IS_FRESH) };
        let (oldest, acknowledged) = (newest, acknowledges);
        Self { newest, oldest, acknowledged, progress: left.units(), open: CLOSED, state }
    }

    /// Whether the former program is to have this segment.
    #[inline(always)]
    pub const fn lets_through(&mut self, segment: Segment, left: Left) -> bool {
        let kind = if segment.has_data { self.data(segment.sequence) } else { self.acknowledgement(segment) };
        let is_open = left.halvings() > 0
            && (self.state & OWES != 0 || self.open != CLOSED && left.units() >= self.open);
        let is_let_through = match kind {
            Kind::New => {
                self.progress = left.units();
                self.state &= !OWES;
                is_open
            }
            Kind::Probe => is_open,
            Kind::Again => is_open || self.takes_turn(if segment.has_data { 0 } else { TURN_BITS }, left),
        };
        if is_let_through && segment.has_data {
            self.state |= IS_FRESH;
        }
        is_let_through
    }

    #[inline(always)]
    const fn data(&mut self, sequence: u32) -> Kind {
        let is_fresh = self.state & IS_FRESH != 0;
        if is_after(sequence, self.newest) {
            self.newest = sequence;
            if is_fresh {
                self.oldest = sequence;
                self.state &= !IS_FRESH;
            }
            return Kind::New;
        }
        if !is_fresh && is_after(sequence, self.oldest) {
            self.oldest = sequence;
            return Kind::Probe;
        }
        Kind::Again
    }

    #[inline(always)]
    const fn acknowledgement(&mut self, segment: Segment) -> Kind {
        if segment.acknowledges == self.acknowledged {
            return Kind::Again;
        }
        self.acknowledged = segment.acknowledges;
        Kind::New
    }

    /// Lets something through, where nothing of its kind was since what is left was last halved.
    #[inline(always)]
    const fn takes_turn(&mut self, shift: u32, left: Left) -> bool {
        if self.progress.saturating_sub(left.units()) as u64 >= STALLS_NS >> UNIT_BITS {
            self.state |= IS_CUT;
        }
        let halvings = left.halvings();
        let is_last = left.left_ns < LAST_NS;
        let is_due = is_last || halvings > self.state >> shift & TURN;
        if self.state & IS_CUT == 0 || halvings == 0 || !is_due {
            return false;
        }
        self.state = self.state & !(TURN << shift) | halvings << shift | OWES;
        let part = if shift == 0 { OPEN_PART } else { OPEN_PART_OF_READERS };
        self.open = if is_last { 0 } else { left.units() - left.units() / part };
        true
    }
}

/// An address as a key of [`TRIAL_BLOCKED`](crate::abi::map::TRIAL_BLOCKED) has it, in network order; one of IPv4 as
/// it is written in IPv6 (RFC 4291, section 2.5.5.2), so prefixes of IPv4 have 96 bits more.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "halves of words")]
pub const fn trie_words(family: u32, [first, last]: [u64; 2]) -> [u32; 4] {
    if family == family::V4 {
        return [0, 0, 0xffff_u32.to_be(), (first as u32).to_be()];
    }
    [
        ((first >> 32) as u32).to_be(),
        (first as u32).to_be(),
        ((last >> 32) as u32).to_be(),
        (last as u32).to_be(),
    ]
}

/// Whether a sequence number is behind another one (RFC 9293, section 3.4).
#[inline(always)]
const fn is_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).wrapping_sub(1) < 1 << 31
}

#[cfg(test)]
mod tests;

//! Which segments of open connections meet the former program while another is on trial.
//!
//! **What it decides.** A policy on trial may cut off the very session that it was applied in. When the trial is over the packets
//! of that session pass again, but TCP may not send any for as long again as the session was cut off: its sender doubles the time
//! between two tries each time that nothing is acknowledged. So a few of these tries get through by the former program: none
//! in the first half of the trial, one in the first half of what is left then, one in the first half of what is left after that, and so on;
//! and all of them in the last second ([`LAST_NS`]). A sender whose shortest time to wait is R, 0.2 s on most networks, then
//! goes on R after the trial at the latest. For if something gets through, or is lost first, with a time t left, tries are held up for t/2 at most;
//! the first one after that comes by 2 (t/2) + R: while the trial lasts, and then it gets through, or no more than R after it.
//!
//! Only what is sent again is let through, for that is what tells that it was lost: data with a sequence number that was there
//! before, and acknowledgements that say what the last one said. A connection that the policy on trial serves never meets
//! the former one so, but for segments that the network lost or sends twice.
//!
//! **What it trusts.** That it is asked only of connections that the kernel has a socket for, so that of a flood of forged
//! segments nothing is let through. What passes is what passed before the trial.
//!
//! **What it costs.** While a trial lasts: for each segment that is no SYN and no reset a look-up among the [`Watched`], of which each interface has
//! [`MAX_WATCHED`](crate::abi::MAX_WATCHED); for the first of each connection, and for those of none, a look-up of a socket.

/// The last of a trial, in which all that is sent again is let through: about a second, in nanoseconds. Of a short trial its second half.
const LAST_NS: u64 = 1 << 30;

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Nanoseconds to its end.
    pub left_ns: u64,
    /// Nanoseconds that it takes in all.
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
    /// The first data that is new since some was let through: where it is sent again, it was lost. Later what else is sent again.
    oldest: u32,
    /// What was acknowledged last.
    acknowledged: u32,
    /// The [halvings](Left::halvings) when data was let through last, and above them when acknowledgements were, [`TURN_BITS`] each; then
    /// [`IS_FRESH`].
    state: u32,
}

const _: () = assert!(size_of::<Watched>() == 16);

const TURN_BITS: u32 = 8;
const TURN: u32 = (1 << TURN_BITS) - 1;
/// No new data since some was let through: `oldest` is still to come, and all data up to `newest` is sent again.
const IS_FRESH: u32 = 1 << (2 * TURN_BITS);

impl Watched {
    /// A connection whose first segment this is.
    #[inline(always)]
    #[must_use]
    pub const fn begun(segment: Segment, left: Left) -> Self {
        let Segment { sequence, acknowledges, has_data } = segment;
        let state = left.halvings() | left.halvings() << TURN_BITS;
        // An acknowledgement has the number of the data that is still to come.
        let (newest, state) =
            if has_data { (sequence, state) } else { (sequence.wrapping_sub(1), state | IS_FRESH) };
        Self { newest, oldest: newest, acknowledged: acknowledges, state }
    }

    /// Whether the former program is to have this segment.
    #[inline(always)]
    pub const fn lets_through(&mut self, segment: Segment, left: Left) -> bool {
        if segment.has_data {
            self.is_sent_again(segment.sequence) && self.takes_turn(0, left)
        } else if segment.acknowledges == self.acknowledged {
            self.takes_turn(TURN_BITS, left)
        } else {
            self.acknowledged = segment.acknowledges;
            false
        }
    }

    /// Whether it is data that the sender waits for, as far as can be told.
    #[inline(always)]
    const fn is_sent_again(&mut self, sequence: u32) -> bool {
        let is_fresh = self.state & IS_FRESH != 0;
        if is_after(sequence, self.newest) {
            self.newest = sequence;
            if is_fresh {
                self.oldest = sequence;
                self.state &= !IS_FRESH;
            }
            return false;
        }
        // It may only ask whether the end of what was sent has arrived (RFC 8985, section 7), and the beginning is waited for.
        if !is_fresh && is_after(sequence, self.oldest) {
            self.oldest = sequence;
            return false;
        }
        true
    }

    /// Lets something through, where nothing of its kind was since what is left was last halved.
    #[inline(always)]
    const fn takes_turn(&mut self, shift: u32, left: Left) -> bool {
        let halvings = left.halvings();
        if halvings == 0 || left.left_ns >= LAST_NS && halvings <= self.state >> shift & TURN {
            return false;
        }
        self.state = self.state & !(TURN << shift) | halvings << shift;
        if shift == 0 {
            self.state |= IS_FRESH;
        }
        true
    }
}

/// Whether a sequence number is behind another one (RFC 9293, section 3.4).
#[inline(always)]
const fn is_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).wrapping_sub(1) < 1 << 31
}

#[cfg(test)]
mod tests;

//! What a twin of the program and whoever runs it tell each other, packet by packet.
//!
//! A twin is the program on the same tables, with state of its own: it is asked what would become of a packet, and the answer
//! changes nothing. It takes the time from [`TwinCell`] in place of the kernel's clock, and notes there what it decided and the
//! rules that it met on the way. The ordinary program is compiled without any of this, so it pays nothing for it.

use crate::pipeline::Decision;

/// Rules that are noted of one packet; of further ones only the number is.
pub const MAX_MEETINGS: usize = 64;
/// No rule.
pub const NO_RULE: u32 = u32::MAX;
/// No reason: what a cell has before the program has decided.
pub const UNDECIDED: u32 = u32::MAX;

/// What a rule that a packet met did; of the rule that decided, the cell says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Met {
    /// Nothing: its header fields match, and its payload or its chance does not, or chance did not pick the packet as a sample.
    Nothing,
    /// It counted. The walk goes on behind a rule that counts or samples, one in mode `count`, and one that redirects to an
    /// interface that is gone.
    Counted,
    /// The packet is within its limit.
    WithinLimit,
}

impl Met {
    /// The one of that number.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Nothing),
            1 => Some(Self::Counted),
            2 => Some(Self::WithinLimit),
            _ => None,
        }
    }
}

/// A rule that a packet met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Meeting {
    /// The rule, from 0 on.
    pub rule: u32,
    /// A [`Met`].
    pub met: u32,
}

/// The one element of a twin's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TwinCell {
    /// The time, in nanoseconds, of a clock that never goes back; written before a run.
    pub now_ns: u64,
    /// The [`Reason`](crate::verdict::Reason) that the packet ended with; [`UNDECIDED`] before a run.
    pub reason: u32,
    /// As in [`Decision`].
    pub set: u32,
    /// As in [`Decision`].
    pub interface: u32,
    /// The rule that decided; [`NO_RULE`] before a run.
    pub rule: u32,
    /// Rules that were met, noted or not; 0 before a run.
    pub met: u32,
    /// Whether the kernel makes SYN cookies: 1, or 0 where it makes none; written before a run.
    pub makes_cookies: u32,
    /// Whose the packet is: 0 where the kernel is to be asked, else what a [`Claim`](crate::policy::claimed::Claim) is one less than;
    /// written before a run.
    pub claim: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// The first of them, in their order.
    pub meetings: [Meeting; MAX_MEETINGS],
}

impl TwinCell {
    /// Before a packet at that time. What the rules before left is not cleared: [`Self::met`] says how many of them count.
    pub const fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        (self.reason, self.rule, self.met) = (UNDECIDED, NO_RULE, 0);
    }

    /// Notes how the packet ended.
    #[inline(always)]
    pub const fn decide(&mut self, decision: Decision) {
        self.reason = decision.reason as u32;
        self.set = decision.set;
        self.interface = decision.interface;
    }

    /// Notes a rule that was met, and did nothing yet.
    #[inline(always)]
    pub const fn meet(&mut self, rule: u32) {
        let place = self.met as usize;
        if place < MAX_MEETINGS {
            // The mask changes nothing; it is what bounds the index for the verifier.
            self.meetings[place & (MAX_MEETINGS - 1)] = Meeting { rule, met: Met::Nothing as u32 };
        }
        self.met = self.met.wrapping_add(1);
    }

    /// Notes what the rule did that was met last.
    #[inline(always)]
    pub const fn mark(&mut self, met: Met) {
        let place = self.met.wrapping_sub(1) as usize;
        if place < MAX_MEETINGS {
            self.meetings[place & (MAX_MEETINGS - 1)].met = met as u32;
        }
    }
}

const _: () = assert!(MAX_MEETINGS.is_power_of_two());
const _: () = assert!(size_of::<TwinCell>() == 40 + 8 * MAX_MEETINGS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    const EMPTY: TwinCell = TwinCell {
        now_ns: 0,
        reason: 0,
        set: 0,
        interface: 0,
        rule: 0,
        met: 0,
        makes_cookies: 1,
        claim: 0,
        reserved: 0,
        meetings: [Meeting { rule: 0, met: 0 }; MAX_MEETINGS],
    };

    #[test]
    fn rules_beyond_those_that_are_noted_are_counted() {
        let mut cell = EMPTY;
        cell.begin(7);
        assert_eq!((cell.now_ns, cell.reason, cell.rule, cell.met), (7, UNDECIDED, NO_RULE, 0));
        for rule in 0..100 {
            cell.meet(rule);
            if rule % 2 == 1 {
                cell.mark(Met::Counted);
            }
        }
        cell.decide(Reason::RuleDrop.into());
        assert_eq!((cell.met, cell.reason), (100, Reason::RuleDrop as u32));
        assert_eq!(cell.meetings[62], Meeting { rule: 62, met: Met::Nothing as u32 });
        assert_eq!(cell.meetings[63], Meeting { rule: 63, met: Met::Counted as u32 });
    }

    #[test]
    fn what_a_rule_did_is_found_by_its_number() {
        for met in [Met::Nothing, Met::Counted, Met::WithinLimit] {
            assert_eq!(Met::of(met as u32), Some(met));
        }
        assert_eq!(Met::of(3), None);
    }
}

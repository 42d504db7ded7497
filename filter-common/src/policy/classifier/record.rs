//! What a rule does, and what has to hold beyond header fields: one line for each rule.
//!
//! | word | what |
//! |---|---|
//! | 0 | bytes from the lowest: [`Action`], [`COUNTS_ONLY`] and other flags, length of the payload that is compared (0: none), its offset; then, in the upper half, the number of the rule's counters |
//! | 1 | the action's argument: the number of a limit, also of a defence's, seconds of a ban, index of an interface (0 where it is gone: the rule counts then, and decides nothing), or the most that a random number may be for a sample; in the upper half, where the flag [`HAS_CHANCE`] is set, the same for the rule |
//! | 2, 3 | the payload: its first eight bytes as the number that they are in network order, then the next eight; zero behind its end and where the mask is |
//! | 4, 5 | its mask, likewise |
//! | 6, 7 | of a defence, [`Defence::words`]; else nothing: zero |

use crate::policy::syn::Defence;
use crate::table::lines::{Line, Lines};

/// Set in the flags of a rule in mode `count`.
pub const COUNTS_ONLY: u32 = 1;
/// Set where the rule holds by chance.
pub const HAS_CHANCE: u32 = 2;
/// Set where the payload has to be another one.
pub const PAYLOAD_NEGATED: u32 = 4;
/// Set where the packet has to answer something that this host has not sent.
pub const IS_UNASKED: u32 = 8;
/// Set where it has to answer something that this host has sent.
pub const IS_ASKED: u32 = 16;
/// Set where no socket of this host may take the packet.
pub const IS_UNCLAIMED: u32 = 32;
/// Set where one has to.
pub const IS_CLAIMED: u32 = 64;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// The rule counts, nothing else.
    Count,
    /// Dropped.
    Drop,
    /// Passed, whatever later rules say.
    Pass,
    /// Dropped where the limit is exceeded.
    Limit,
    /// Dropped, and its source is banned.
    Ban,
    /// Shown to whoever listens, by chance.
    Sample,
    /// Sent out of another interface.
    Redirect,
    /// Met by the defence of a service.
    Defend,
}

/// One rule's record, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct RecordLine<N> {
    line: N,
    head: u64,
    choice: u64,
}

impl<N: Line> RecordLine<N> {
    /// The record of a rule.
    #[inline(always)]
    pub fn read<L: Lines<Line = N>>(lines: &L, records: u32, rule: u32) -> Option<Self> {
        let line = lines.line(records.wrapping_add(rule))?;
        Some(Self { line, head: line.word(0), choice: line.word(1) })
    }

    /// What it does; one that no version knows counts.
    #[inline(always)]
    pub fn action(&self) -> Action {
        match self.head & 0xff {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Limit,
            4 => Action::Ban,
            5 => Action::Sample,
            6 => Action::Redirect,
            7 => Action::Defend,
            _ => Action::Count,
        }
    }

    /// The same where no rule does more than count, drop or pass.
    #[inline(always)]
    pub fn plain_action(&self) -> Action {
        match self.head & 0xff {
            1 => Action::Drop,
            2 => Action::Pass,
            _ => Action::Count,
        }
    }

    /// Whether one of the flags is set.
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        self.head >> 8 & u64::from(flag) != 0
    }

    /// Bytes of payload that are compared.
    #[inline(always)]
    pub fn payload_length(&self) -> u32 {
        (self.head >> 16 & 0xff) as u32
    }

    /// Bytes of payload before them.
    #[inline(always)]
    pub fn payload_offset(&self) -> u32 {
        (self.head >> 24 & 0xff) as u32
    }

    /// The number of its counters.
    #[inline(always)]
    pub fn counter(&self) -> u32 {
        (self.head >> 32) as u32
    }

    /// The action's argument.
    #[inline(always)]
    pub fn argument(&self) -> u32 {
        (self.choice & 0xffff_ffff) as u32
    }

    /// The words of its defence.
    #[inline(always)]
    pub fn defence(&self) -> [u64; 2] {
        [self.line.word(6), self.line.word(7)]
    }

    /// The most that a random number may be for the rule to hold.
    #[inline(always)]
    pub fn chance(&self) -> u32 {
        (self.choice >> 32) as u32
    }

    /// Whether these bytes of payload, zero behind the end, are those of the record.
    #[inline(always)]
    pub fn has_payload(&self, (first, second): (u64, u64)) -> bool {
        let differing = (first & self.line.word(4)) ^ self.line.word(2);
        differing | (second & self.line.word(5)) ^ self.line.word(3) == 0
    }
}

/// Bytes of a payload, as a record holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadTest {
    /// Bytes before them.
    pub offset: u8,
    /// Bytes that are compared: 1 to 16.
    pub length: u8,
    /// Whether they have to be others.
    pub negated: bool,
    /// What they are, from the highest byte of the first word on; zero where the mask is.
    pub value: [u64; 2],
    /// The bits that are compared.
    pub mask: [u64; 2],
}

/// One rule's record, before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it does.
    pub action: Action,
    /// The number of a limit, seconds of a ban, index of an interface, or the most that a random number may be for a sample;
    /// else 0.
    pub argument: u32,
    /// Whether it only counts.
    pub counts_only: bool,
    /// The number of its counters.
    pub counter: u32,
    /// Where it holds by chance, the most that a random number may be.
    pub chance: Option<u32>,
    /// What a payload has to be.
    pub payload: Option<PayloadTest>,
    /// Whether this host has to have asked for the packet, or not to have.
    pub asked: Option<bool>,
    /// Whether a socket of this host has to take the packet, or none may.
    pub claimed: Option<bool>,
    /// What it defends, where it does that.
    pub defence: Option<Defence>,
}

impl Record {
    /// The words of its line.
    #[must_use]
    pub fn words(&self) -> [u64; 8] {
        let mut flags = if self.counts_only { COUNTS_ONLY } else { 0 };
        let chance = self.chance.map_or(0, |chance| {
            flags |= HAS_CHANCE;
            chance
        });
        flags |= match self.asked {
            None => 0,
            Some(true) => IS_ASKED,
            Some(false) => IS_UNASKED,
        };
        flags |= match self.claimed {
            None => 0,
            Some(true) => IS_CLAIMED,
            Some(false) => IS_UNCLAIMED,
        };
        let (mut compared, mut value, mut mask) = (0, [0; 2], [0; 2]);
        if let Some(payload) = &self.payload {
            flags |= if payload.negated { PAYLOAD_NEGATED } else { 0 };
            compared = u64::from(payload.length) | u64::from(payload.offset) << 8;
            (value, mask) = (payload.value, payload.mask);
        }
        let head =
            self.action as u64 | u64::from(flags) << 8 | compared << 16 | u64::from(self.counter) << 32;
        let choice = u64::from(self.argument) | u64::from(chance) << 32;
        let defence = self.defence.map_or([0; 2], |defence| defence.words());
        [head, choice, value[0], value[1], mask[0], mask[1], defence[0], defence[1]]
    }
}

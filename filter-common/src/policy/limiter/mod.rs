//! Rate limits that survive spoofing: a token bucket for each key, in fixed memory that no flood makes grow.
//!
//! **What it decides.** Whether a packet is within its key's limit ([`decide`]). A bucket is one number, the time at
//! which it is full again: the virtual scheduling algorithm of ITU-T I.371, also called GCRA. A packet costs time
//! ([`Pace`]); it conforms if the bucket then owes no more than the burst is worth, which is a token bucket's verdict
//! without its arithmetic on elapsed time.
//!
//! **Where buckets lie.** A key's hash names one line of eight slots, and a tag ([`Region`]). A slot is a word
//! ([`slots`]): the time in its upper 44 bits, the tag in its lower 20. A bucket that owes nothing equals one that was
//! never used, so its slot is free without anyone clearing it. Where all eight of a line owe, the one that owes least
//! gives way to a new key.
//!
//! **Errors are forgiveness.** What a bucket that gave way owed is forgiven; costs are rounded down ([`Pace`]); a
//! packet whose bucket could not be written conforms. A source that keeps to its limit is over it in one case alone:
//! another key has its line and its tag ([`size::false_matches_ppm`] is the bound on that). The price is paid at the
//! other end: a line takes eight keys that owe, and under a flood of more than that the sources over their limit are
//! held as long as their next packet comes before eight newcomers did. [`mod@size`] has the numbers.
//!
//! **A region for each limit.** A unit of time that makes both 10 G packets a second and bursts over hours exact does
//! not fit in a slot, so each limit has the unit that suits its rate, and times of two limits cannot be compared. Limits
//! therefore do not share lines; that also keeps a flood against one from displacing the buckets of another, and lets
//! each have as many as its rate needs. What a region held before it became a limit's may stay: its words are buckets of
//! keys that never come.
//!
//! **What it trusts.** That regions are within the array and disjoint, and that the clock does not go back by more than
//! [`Pace::SLACK_NS`] between two CPUs. Clocks differ and CPUs pause between reading the clock and writing, so a bucket
//! may seem to owe a little more than its burst; that is over the limit. What is further ahead no packet can have
//! written: it is a time from before the clock's last wrap, and stale.
//!
//! **What it costs.** One line, and a compare-and-swap if the packet conforms. Over the limit nothing is written, so the
//! line of a source that floods stays shared between the CPUs. The caller reads the clock, at most once a packet.
//! Finding a tag branches on each slot: a key nearly always lies in the slot that its tag prefers, which is looked at
//! first, and a new key meets eight more branches that are never taken. Both are predicted, and no pass without
//! branches over eight words takes as few instructions. Only the choice among eight that owe, where a prediction would
//! be worth nothing, has no branches.

pub mod keys;
#[cfg(any(test, feature = "std"))]
pub mod memory;
pub mod pace;
pub mod size;
pub mod slots;

#[cfg(test)]
mod tests;

pub use self::keys::KeyHasher;
pub use self::pace::Pace;
pub use self::slots::{Cells, Region, Slots};

use self::slots::{holds, seek};
use crate::table::lines::Line as _;

/// How often a packet is decided anew because another CPU changed its slot meanwhile. Each time that other CPU has made
/// progress, so among few this is hardly ever used up. After the last the packet conforms unrecorded: dropping it
/// would punish sources for being many, and waiting longer would let them stop a CPU.
pub const TRIES: u32 = 4;

/// What a packet is to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Within it; it is charged.
    Conforms,
    /// Over it; nothing was charged.
    Over,
}

/// One limit, ready for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// What packets cost and what may be owed.
    pub pace: Pace,
    /// Where its buckets lie; no other limit's do.
    pub region: Region,
}

const _: () = assert!(size_of::<Limit>() == 48 && size_of::<KeyHasher>() == 32);

/// Decides about a packet of `frame_bytes`, from the Ethernet header on, whose key hashes to `key_hash`
/// ([`KeyHasher`]), and charges it if it conforms. `now_ns` is a clock that only goes forward.
#[inline(always)]
pub fn decide<C: Cells>(cells: &C, now_ns: u64, key_hash: u64, limit: &Limit, frame_bytes: u32) -> Decision {
    let pace = &limit.pace;
    let (index, tag) = limit.region.place(key_hash);
    let Some(line) = cells.line(index) else { return Decision::Conforms };
    let now = pace.time(now_ns);
    let cost = pace.cost(frame_bytes);
    for _ in 0..TRIES {
        let slot = seek(line, tag, now, pace.horizon);
        let word = line.word(slot);
        let owed = if holds(word, tag) { pace.owed(word, now) } else { 0 };
        let Some(charged) = pace.charged(owed, now, cost) else { return Decision::Over };
        if line.compare_exchange(slot, word, charged | tag) {
            return Decision::Conforms;
        }
    }
    Decision::Conforms
}

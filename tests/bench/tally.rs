//! Where the frames of a flood went; a figure counts only when none is unaccounted for.

use serde::Serialize;

use crate::list::Traffic;

/// Frames of all rounds of one figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Handed to the attacker's interface.
    pub sent: u64,
    /// Of those, the ones that the victim's ring had no room for.
    pub lost: u64,
    /// Taken from the ring by the victim's driver.
    pub processed: u64,
    /// Dropped, as the filter says; none where it counts nothing.
    pub dropped: Option<u64>,
    /// Got through to the victim's route look-up.
    pub reached_stack: u64,
}

impl Tally {
    /// Adds another round's.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.processed += other.processed;
        self.reached_stack += other.reached_stack;
        self.dropped = match (self.dropped, other.dropped) {
            (Some(mine), Some(theirs)) => Some(mine + theirs),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Whether every frame is where it belongs.
    pub fn agrees(&self, traffic: Traffic) -> bool {
        let (dropped, passed) = match traffic {
            Traffic::Hit => (self.processed, 0),
            Traffic::Miss => (0, self.processed),
        };
        self.processed > 0
            && self.processed + self.lost == self.sent
            && self.dropped.is_none_or(|counted| counted == dropped)
            && self.reached_stack == passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_agrees_only_when_no_frame_is_unaccounted_for() {
        let hit = Tally { sent: 10, lost: 1, processed: 9, dropped: Some(9), reached_stack: 0 };
        assert!(hit.agrees(Traffic::Hit));
        assert!(!hit.agrees(Traffic::Miss));
        for wrong in [
            Tally { lost: 0, ..hit },
            Tally { dropped: Some(8), ..hit },
            Tally { reached_stack: 1, ..hit },
            Tally { sent: 0, lost: 0, processed: 0, dropped: None, reached_stack: 0 },
        ] {
            assert!(!wrong.agrees(Traffic::Hit), "{wrong:?}");
        }
        assert!(Tally { dropped: None, ..hit }.agrees(Traffic::Hit), "a filter may count nothing");
        assert!(Tally { dropped: Some(0), reached_stack: 9, ..hit }.agrees(Traffic::Miss));
    }
}

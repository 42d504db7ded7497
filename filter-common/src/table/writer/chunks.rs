//! Which lines of a table's chunks are in use.

use super::Full;

/// Most lines that a chunk has.
const MOST_LINES: usize = 9;

/// Lines for chunks: in use, free, or resting until no reader looks at them any more.
#[derive(Debug)]
pub(super) struct ChunkLines {
    /// The first line that was never used.
    next: u32,
    limit: u32,
    /// Freed chunks, by their number of lines.
    free: [Vec<u32>; MOST_LINES + 1],
    resting: Vec<(u32, usize)>,
}

impl ChunkLines {
    /// `used` lines at the beginning are taken, of `limit`.
    pub(super) fn new(used: u32, limit: u32) -> Self {
        Self { next: used, limit, free: Default::default(), resting: Vec::new() }
    }

    /// Takes a chunk of that many lines.
    pub(super) fn take(&mut self, lines: usize) -> Result<u32, Full> {
        if let Some(place) = self.free[lines].pop() {
            return Ok(place);
        }
        let count = u32::try_from(lines).map_err(|_| Full::Chunks)?;
        if self.limit - self.next >= count {
            self.next += count;
            return Ok(self.next - count);
        }
        // A longer one, whose tail is free again.
        let longer = (lines + 1..=MOST_LINES).find(|longer| !self.free[*longer].is_empty());
        let place = longer.and_then(|longer| self.free[longer].pop().map(|place| (place, longer)));
        let (place, longer) = place.ok_or(Full::Chunks)?;
        self.free[longer - lines].push(place + count);
        Ok(place)
    }

    /// Gives back a chunk that no reader has seen.
    pub(super) fn give_back(&mut self, place: u32, lines: usize) {
        self.free[lines].push(place);
    }

    /// Gives back a chunk that readers may be looking at.
    pub(super) fn rest(&mut self, place: u32, lines: usize) {
        self.resting.push((place, lines));
    }

    /// Lines that rest.
    pub(super) fn resting(&self) -> u32 {
        self.resting.iter().map(|(_, lines)| u32::try_from(*lines).unwrap_or(0)).sum()
    }

    /// No reader looks at what rests any more.
    pub(super) fn settle(&mut self) {
        for (place, lines) in self.resting.drain(..) {
            self.free[lines].push(place);
        }
    }
}

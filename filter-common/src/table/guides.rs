//! Guides: which lengths over 32 bits are in use within an IPv6 /32, each combination of them once.
//!
//! In a network that is divided into [`super::levels`], each level has a guide of its own.
//!
//! A search tries only those lengths. Lists are regular, so there are few combinations; should there be more than fit,
//! the universal guide, which names every length in use anywhere, takes the place of any.

use std::collections::HashMap;

use super::slot::{DEEPER, MAX_GUIDES, SINGLE_GUIDES, UNIVERSAL_GUIDE};

/// Lengths, as a guide names them: bit `i` of the first word stands for 128 - `i`, of the second for 64 - `i`, and its
/// highest one for the next level.
pub type LengthBits = [u64; 2];

/// The bit of a length of 33 to 128.
#[must_use]
pub const fn length_bit(length: u8) -> LengthBits {
    if length > 64 { [1 << (128 - length), 0] } else { [0, 1 << (64 - length)] }
}

/// Both together.
#[must_use]
pub const fn union([a, b]: LengthBits, [c, d]: LengthBits) -> LengthBits {
    [a | c, b | d]
}

/// The guides of one table.
#[derive(Clone, Debug)]
pub struct Guides {
    by_number: Vec<LengthBits>,
    numbers: HashMap<LengthBits, u32>,
    limit: usize,
}

impl Default for Guides {
    fn default() -> Self {
        let empty = LengthBits::default();
        let mut by_number = vec![empty; *SINGLE_GUIDES.end() as usize + 1];
        let mut numbers = HashMap::from([(empty, 0)]);
        for number in SINGLE_GUIDES {
            let length = length_bit(u8::try_from(number).unwrap_or_default());
            by_number[number as usize] = length;
            numbers.insert(length, number);
        }
        Self { by_number, numbers, limit: MAX_GUIDES as usize }
    }
}

impl Guides {
    /// Guides as they were written, in the order of their numbers. The first one without a length after those of a single
    /// one ends them.
    pub fn from_table(written: impl Iterator<Item = LengthBits>, limit: usize) -> Self {
        let mut guides = Self { limit, ..Self::default() };
        for (number, lengths) in written.enumerate() {
            if number == UNIVERSAL_GUIDE as usize {
                guides.by_number[number] = lengths;
            } else if number < guides.by_number.len() {
                // The same in every table.
            } else if lengths == LengthBits::default() {
                break;
            } else {
                let number = u32::try_from(number).unwrap_or(UNIVERSAL_GUIDE);
                guides.by_number.push(lengths);
                guides.numbers.insert(lengths, number);
            }
        }
        guides
    }

    /// How many there are, the empty and the universal one among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Guides that there is room for from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// What a guide names.
    #[must_use]
    pub fn lengths(&self, guide: u32) -> LengthBits {
        self.by_number.get(guide as usize).copied().unwrap_or_default()
    }

    /// Lengths that the universal guide names from now on.
    pub fn name_everywhere(&mut self, [lower, upper]: LengthBits) {
        let universal = &mut self.by_number[UNIVERSAL_GUIDE as usize];
        *universal = union(*universal, [lower, upper & !DEEPER]);
    }

    /// A guide that names at least these lengths. The universal one names them as well from then on; where it takes
    /// another's place, every longer prefix is found by its own length, whatever its level.
    pub fn number(&mut self, lengths: LengthBits) -> u32 {
        self.name_everywhere(lengths);
        if let Some(number) = self.numbers.get(&lengths) {
            return *number;
        }
        if self.by_number.len() >= self.limit {
            return UNIVERSAL_GUIDE;
        }
        let number = u32::try_from(self.by_number.len()).unwrap_or(UNIVERSAL_GUIDE);
        self.by_number.push(lengths);
        self.numbers.insert(lengths, number);
        number
    }

    /// Every guide with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, LengthBits)> {
        (0..).zip(self.by_number.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_combinations_share_a_guide() {
        let mut guides = Guides::default();
        let both = union(length_bit(64), length_bit(128));
        assert_eq!(guides.number(both), guides.number(both));
        assert_ne!(guides.number(both), guides.number(length_bit(64)));
        assert_eq!(guides.number(LengthBits::default()), 0);
    }

    #[test]
    fn where_there_are_too_many_the_universal_guide_names_all() {
        let mut guides = Guides::default();
        guides.set_limit(130);
        let with_33 = |length| union(length_bit(33), length_bit(length));
        assert_eq!(guides.number(with_33(34)), 129);
        assert_eq!(guides.number(with_33(34)), 129);
        for length in [48, 64, 65, 128] {
            assert_eq!(guides.number(with_33(length)), UNIVERSAL_GUIDE);
            assert_eq!(
                guides.number(length_bit(length)),
                u32::from(length),
                "a single length needs no place"
            );
        }
        for length in [33, 48, 64, 65, 128] {
            let bit = length_bit(length);
            assert_eq!(
                union(guides.lengths(UNIVERSAL_GUIDE), bit),
                guides.lengths(UNIVERSAL_GUIDE),
                "/{length}"
            );
        }
    }
}

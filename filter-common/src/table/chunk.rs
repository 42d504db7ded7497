//! Chunks as the controller makes and reads them: 256 values written as runs. [`super::slot`] has the layout.

use super::lines::WORDS;
use super::slot::{CHUNK_VALUES, FIRST_RUNS, MORE_RUNS, ONE_SET};

/// The sets of 256 neighbours.
pub type Values = [u16; CHUNK_VALUES];
/// Lines as plain words.
pub type Words = [u64; WORDS];

/// The lines of a chunk, or the one set that all values belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// All values are this.
    Uniform(u16),
    /// One to nine lines.
    Lines(Vec<Words>),
}

/// Writes values as bits where one set covers some of them, else as runs.
pub fn encode(values: &Values) -> Encoded {
    if values.iter().all(|value| *value == values[0]) {
        return Encoded::Uniform(values[0]);
    }
    let set = values.iter().copied().find(|value| *value != 0).unwrap_or(0);
    if values.iter().all(|value| *value == 0 || *value == set) {
        return Encoded::Lines(vec![members(values, set)]);
    }
    Encoded::Lines(in_runs(values))
}

/// The line of a chunk of one set.
fn members(values: &Values, set: u16) -> Words {
    let mut line: Words = [0; WORDS];
    for (index, _) in values.iter().enumerate().filter(|(_, value)| **value != 0) {
        line[index / 64] |= 1 << (index % 64);
    }
    line[4] = ONE_SET.into();
    put_half_word(&mut line[4..], 2, set);
    line
}

fn in_runs(values: &Values) -> Vec<Words> {
    let mut runs = vec![values[0]];
    let mut first: Words = [0; WORDS];
    first[0] = 1;
    for (index, pair) in values.windows(2).enumerate() {
        if pair[0] != pair[1] {
            let at = index + 1;
            first[at / 64] |= 1 << (at % 64);
            runs.push(pair[1]);
        }
    }
    let mut before = 0;
    for word in 0..4 {
        // At most 192 runs begin before the last word.
        first[4] |= u64::from(before) << (word * 8);
        before += first[word].count_ones();
    }
    let (head, tail) = runs.split_at(runs.len().min(FIRST_RUNS as usize));
    for (index, set) in head.iter().enumerate() {
        put_half_word(&mut first[4..], index + 2, *set);
    }
    let mut lines = vec![first];
    for sets in tail.chunks(MORE_RUNS as usize) {
        let mut line: Words = [0; WORDS];
        for (index, set) in sets.iter().enumerate() {
            put_half_word(&mut line, index, *set);
        }
        lines.push(line);
    }
    lines
}

fn put_half_word(words: &mut [u64], index: usize, set: u16) {
    words[index / 4] |= u64::from(set) << (index % 4 * 16);
}

/// Lines of the chunk whose first one is this.
pub fn lines(first: &Words) -> u32 {
    if first[4] & 0xff == u64::from(ONE_SET) {
        return 1;
    }
    let runs: u32 = first[..4].iter().map(|word| word.count_ones()).sum();
    1 + runs.saturating_sub(FIRST_RUNS).div_ceil(MORE_RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_needs_no_chunk() {
        assert_eq!(encode(&[7; CHUNK_VALUES]), Encoded::Uniform(7));
    }

    #[test]
    fn lines_grow_with_the_runs() {
        for (runs, expected) in [(3, 1), (14, 1), (15, 2), (46, 2), (47, 3), (256, 9)] {
            let mut values = [0; CHUNK_VALUES];
            for (index, value) in values.iter_mut().enumerate() {
                *value = u16::try_from(index.min(runs - 1)).expect("below 256");
            }
            let Encoded::Lines(encoded) = encode(&values) else { panic!("{runs} runs are not uniform") };
            assert_eq!(encoded.len(), expected, "{runs} runs");
            assert_eq!(lines(&encoded[0]) as usize, expected);
        }
    }

    #[test]
    fn one_set_takes_a_line_however_it_is_scattered() {
        for every in 2..=CHUNK_VALUES {
            let mut values = [0; CHUNK_VALUES];
            values.iter_mut().step_by(every).for_each(|value| *value = 1023);
            let Encoded::Lines(encoded) = encode(&values) else { panic!("every {every}th is not uniform") };
            assert_eq!((encoded.len(), lines(&encoded[0])), (1, 1));
        }
    }
}

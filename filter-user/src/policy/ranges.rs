//! Sets of numbers as ordered ranges: what `{80, 443, 8000-8100}` means, independent of how it was written.
//!
//! The ranges never touch or overlap, so equal sets are equal values. Subset and intersection are exact, which is what
//! the warnings about unreachable rules rest on.

/// A number that ranges are made of.
pub trait Number: Copy + Ord {
    /// The lowest.
    const MIN: Self;
    /// The highest.
    const MAX: Self;
    /// The next one; `None` behind the highest.
    fn next(self) -> Option<Self>;
    /// The one before; `None` before the lowest.
    fn previous(self) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Number for $number {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    )*};
}

numbers!(u8 u16 u32 u128);

/// A set of numbers, as ranges from the lowest to the highest number in each, both included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges<T>(Vec<(T, T)>);

impl<T: Number> Ranges<T> {
    /// The numbers of all ranges. Backward ranges hold none.
    pub fn new(ranges: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut sorted: Vec<(T, T)> = ranges.into_iter().filter(|(low, high)| low <= high).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match merged.last_mut() {
                Some((_, end)) if end.next().is_none_or(|next| low <= next) => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    /// One number.
    #[must_use]
    pub fn one(number: T) -> Self {
        Self(vec![(number, number)])
    }

    /// All numbers up to `most`.
    #[must_use]
    pub fn up_to(most: T) -> Self {
        Self(vec![(T::MIN, most)])
    }

    /// The ranges, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[(T, T)] {
        &self.0
    }

    /// Whether there is no number in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is in it.
    #[must_use]
    pub fn contains(&self, number: T) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&number))
    }

    /// The lowest and the highest number.
    #[must_use]
    pub fn bounds(&self) -> Option<(T, T)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    /// The numbers up to `most` that are not in it.
    #[must_use]
    pub fn complement(&self, most: T) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut low = Some(T::MIN);
        for (begin, end) in &self.0 {
            if let (Some(low), Some(before)) = (low, begin.previous()) {
                gaps.push((low, before));
            }
            low = end.next();
        }
        gaps.extend(low.map(|low| (low, T::MAX)));
        Self(gaps).intersection(&Self::up_to(most))
    }

    /// The numbers that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some((low, high)), Some((other_low, other_high))) = (ours.peek(), theirs.peek()) {
            common.push((*low.max(other_low), *high.min(other_high)));
            if high <= other_high {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self::new(common)
    }

    /// Whether every number of it is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        // Ranges never touch, so each of ours lies within a single one of theirs, or not at all.
        self.0.iter().all(|(low, high)| {
            let at = other.0.partition_point(|(_, end)| end < low);
            other.0.get(at).is_some_and(|(begin, end)| begin <= low && high <= end)
        })
    }
}

impl Ranges<u16> {
    /// The same numbers in a byte each; `None` where one of them does not fit.
    #[must_use]
    pub fn narrow(&self) -> Option<Ranges<u8>> {
        let byte = |number| u8::try_from(number).ok();
        self.0.iter().map(|(low, high)| Some((byte(*low)?, byte(*high)?))).collect::<Option<_>>().map(Ranges)
    }
}

impl Ranges<u8> {
    /// The same numbers in two bytes each.
    #[must_use]
    pub fn widen(&self) -> Ranges<u16> {
        Ranges(self.0.iter().map(|(low, high)| (u16::from(*low), u16::from(*high))).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(ranges: &Ranges<u8>) -> BTreeSet<u8> {
        (0..=u8::MAX).filter(|number| ranges.contains(*number)).collect()
    }

    fn any_ranges() -> impl Strategy<Value = Ranges<u8>> {
        proptest::collection::vec(any::<(u8, u8)>(), 0..6).prop_map(Ranges::new)
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(Ranges::new([(3_u8, 3), (1, 2), (9, 9)]).as_slice(), [(1, 3), (9, 9)]);
        assert_eq!(Ranges::new([(200_u8, 255), (0, 255)]).as_slice(), [(0, 255)]);
    }

    proptest! {
        #[test]
        fn set_operations_are_those_of_sets(a in any_ranges(), b in any_ranges(), most: u8) {
            let (in_a, in_b) = (members(&a), members(&b));
            prop_assert_eq!(members(&a.intersection(&b)), &in_a & &in_b);
            prop_assert_eq!(a.is_subset(&b), in_a.is_subset(&in_b));
            let outside: BTreeSet<u8> = (0..=most).filter(|number| !in_a.contains(number)).collect();
            prop_assert_eq!(members(&a.complement(most)), outside);
            prop_assert_eq!(a.widen().narrow(), Some(a));
        }
    }
}

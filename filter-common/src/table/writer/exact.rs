//! One hash table: which slots its keys take, and when a slot is free for another.
//!
//! The lowest free slot is taken first, so a bucket's last slot is used only once the others are. While a key lies in a
//! later bucket because this one was full, the last slot stays in use, if need be by a mark; when the last such key
//! goes, the mark goes with it, so that tables which change all day stay as fast as new ones. Keys that lie together have
//! the mark beside the last slot's own value ([`Key::MARKS_APART`]), as they fill lines without overflowing them.
//!
//! Slots never move. Where a slot takes several stores, it rests when its key goes: a search that is under way might
//! see parts of the old key and of the next. It is free again after [`Table::settle`].

use std::marker::PhantomData;
use std::ops::Range;

use super::super::geometry::{REACH, Region};
use super::keys::{Bucket, Hashing, Key};
use super::{Full, Place};

/// More keys hash to one place than fit there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl From<Full> for Crowded {
    fn from(_: Full) -> Self {
        Self
    }
}

/// Where a key lies: the bucket, counted from the region's first, and the slot.
type Position = (u32, u32);

/// A hash table of keys of one kind.
#[derive(Debug)]
pub(in crate::table) struct Table<K> {
    region: Region,
    resting: Vec<Position>,
    keys: PhantomData<K>,
}

impl<K: Key> Table<K> {
    pub(in crate::table) const fn new(region: Region) -> Self {
        Self { region, resting: Vec::new(), keys: PhantomData }
    }

    /// One that is written already: what rested when its writer ended rests still, until no search looks at it.
    pub(in crate::table) fn read(region: Region, place: Place<'_>) -> Self {
        let mut table = Self::new(region);
        if !K::IS_ONE_STORE {
            let slots = (0..region.all()).flat_map(|bucket| (0..K::SLOTS).map(move |slot| (bucket, slot)));
            let rests = |(bucket, slot): &Position| {
                let value = K::value(table.bucket(place, *bucket), *slot);
                value & K::PAYLOAD == 0 && value & resting::<K>() != 0
            };
            table.resting = slots.filter(rests).collect();
        }
        table
    }

    /// What `key` stands for; 0 where it is not there.
    pub(in crate::table) fn find(&self, place: Place<'_>, key: K) -> u32 {
        let value = |(bucket, slot)| K::value(self.bucket(place, bucket), slot) & K::PAYLOAD;
        self.locate(place, key).map_or(0, value)
    }

    /// Adds `key`, or changes what it stands for; says whether it was there.
    pub(in crate::table) fn insert(&self, place: Place<'_>, key: K, payload: u32) -> Result<bool, Full> {
        let was = self.locate(place, key);
        let (bucket, slot) = was.or_else(|| self.free(place, key, &[])).ok_or(Full::Bucket)?;
        let passed = key.home(self.hashing(place))..bucket;
        let marked = self.mark_passed(place, passed, (bucket, slot));
        key.put(self.hashing(place), self.bucket(place, bucket), slot, payload | marked);
        Ok(was.is_some())
    }

    /// Whether all these keys, none of which is there, have room.
    pub(in crate::table) fn fit(&self, place: Place<'_>, mut keys: impl Iterator<Item = K>) -> bool {
        let mut taken = Vec::new();
        keys.all(|key| self.free(place, key, &taken).map(|position| taken.push(position)).is_some())
    }

    /// Removes `key`; says whether it was there.
    pub(in crate::table) fn remove(&mut self, place: Place<'_>, key: K) -> bool {
        let Some((bucket, slot)) = self.locate(place, key) else { return false };
        if K::IS_ONE_STORE {
            self.clear(place, (bucket, slot), key.home(self.hashing(place)));
        } else {
            let marked = if K::MARKS_APART { self.value(place, (bucket, slot)) & K::MARK } else { 0 };
            K::mark(self.bucket(place, bucket), slot, resting::<K>() | marked);
            self.resting.push((bucket, slot));
        }
        true
    }

    /// Slots that rest.
    pub(in crate::table) fn resting(&self) -> u32 {
        u32::try_from(self.resting.len()).unwrap_or(u32::MAX)
    }

    /// Every search that began before the last change has ended.
    pub(in crate::table) fn settle(&mut self, place: Place<'_>) {
        for position in std::mem::take(&mut self.resting) {
            // All from its reach may have led to it.
            self.clear(place, position, position.0.saturating_sub(REACH - 1));
        }
    }

    /// Slots in use whose payload is `wanted`.
    pub(in crate::table) fn count(&self, place: Place<'_>, wanted: impl Fn(u32) -> bool) -> usize {
        self.entries(place).filter(|(_, payload)| wanted(*payload)).count()
    }

    /// All keys, with what they stand for.
    pub(in crate::table) fn entries<'a>(
        &self,
        place: Place<'a>,
    ) -> impl Iterator<Item = (K, u32)> + use<'a, '_, K> {
        self.in_use(place, 0..self.region.all())
    }

    /// The keys that lie where `key` might, with what they stand for.
    pub(in crate::table) fn around<'a>(
        &'a self,
        place: Place<'a>,
        key: K,
    ) -> impl Iterator<Item = (K, u32)> + use<'a, K> {
        self.in_use(place, self.reachable(place, key))
    }

    fn in_use<'a>(
        &self,
        place: Place<'a>,
        buckets: impl Iterator<Item = u32>,
    ) -> impl Iterator<Item = (K, u32)> {
        slots_of::<K>(buckets).filter_map(move |(bucket, slot)| {
            let bucket = self.bucket(place, bucket);
            let payload = K::value(bucket, slot) & K::PAYLOAD;
            (payload != 0).then(|| (K::at(self.hashing(place), bucket, slot), payload))
        })
    }

    /// Where marks lie apart, marks the buckets that a key lies behind; the mark that its own slot keeps.
    fn mark_passed(&self, place: Place<'_>, passed: Range<u32>, position: Position) -> u32 {
        if !K::MARKS_APART {
            return 0;
        }
        for bucket in passed.map(|bucket| self.bucket(place, bucket)) {
            K::mark(bucket, K::SLOTS - 1, K::value(bucket, K::SLOTS - 1) | K::MARK);
        }
        self.value(place, position) & K::MARK
    }

    fn value(&self, place: Place<'_>, (bucket, slot): Position) -> u32 {
        K::value(self.bucket(place, bucket), slot)
    }

    /// The slot that `key` would take, which is none of those that are `taken`.
    fn free(&self, place: Place<'_>, key: K, taken: &[Position]) -> Option<Position> {
        slots_of::<K>(self.reachable(place, key)).find(|position| {
            let value = self.value(place, *position);
            (value == 0 || value == K::MARK) && !taken.contains(position)
        })
    }

    /// Frees a slot, and takes away the marks that led to it alone, from bucket `first` on.
    fn clear(&self, place: Place<'_>, (bucket, slot): Position, first: u32) {
        let last = K::SLOTS - 1;
        let marked = if K::MARKS_APART { self.value(place, (bucket, slot)) & K::MARK } else { K::MARK };
        K::clear(self.bucket(place, bucket), slot, if slot == last { marked } else { 0 });
        for passed in (first..=bucket).rev() {
            let value = self.value(place, (passed, last));
            let is_marked = if K::MARKS_APART { value & K::MARK != 0 } else { value == K::MARK };
            if is_marked && !self.leads_on(place, passed) {
                K::mark(self.bucket(place, passed), last, value & !K::MARK);
            }
        }
    }

    /// Whether a key lies behind a bucket that is searched for there first.
    fn leads_on(&self, place: Place<'_>, passed: u32) -> bool {
        let behind = (passed + 1..self.region.all()).take(REACH as usize - 1);
        let mut slots =
            behind.flat_map(|bucket| (0..K::SLOTS).map(move |slot| (self.bucket(place, bucket), slot)));
        slots.any(|(bucket, slot)| {
            K::value(bucket, slot) & K::PAYLOAD != 0
                && K::at(self.hashing(place), bucket, slot).home(self.hashing(place)) <= passed
        })
    }

    fn locate(&self, place: Place<'_>, key: K) -> Option<Position> {
        for index in self.reachable(place, key) {
            let bucket = self.bucket(place, index);
            let is_key = |slot: &u32| {
                K::value(bucket, *slot) & K::PAYLOAD != 0 && K::at(self.hashing(place), bucket, *slot) == key
            };
            if let Some(slot) = (0..K::SLOTS).find(is_key) {
                return Some((index, slot));
            }
            let last = K::value(bucket, K::SLOTS - 1);
            let ends = if K::MARKS_APART { last & K::MARK == 0 } else { last == 0 };
            if ends {
                break;
            }
        }
        None
    }

    /// The buckets that `key` may lie in: none where the region has none, as what comes behind it is not its own.
    fn reachable(&self, place: Place<'_>, key: K) -> impl Iterator<Item = u32> + use<K> {
        let home = key.home(self.hashing(place));
        home..home + REACH.min(self.region.all())
    }

    const fn hashing(&self, place: Place<'_>) -> Hashing {
        Hashing { multiplier: place.multiplier, buckets: self.region.buckets }
    }

    fn bucket<'a>(&self, place: Place<'a>, index: u32) -> Bucket<'a> {
        let line = &place.lines[(self.region.first + index / K::BUCKETS_A_LINE) as usize];
        Bucket { line, first: index % K::BUCKETS_A_LINE * K::SLOTS, index }
    }
}

/// Every slot of some buckets, in their order.
fn slots_of<K: Key>(buckets: impl Iterator<Item = u32>) -> impl Iterator<Item = Position> {
    buckets.flat_map(|bucket| (0..K::SLOTS).map(move |slot| (bucket, slot)))
}

/// The value of a slot that rests: a mark, and another one than that of a free slot.
const fn resting<K: Key>() -> u32 {
    2 * K::MARK
}

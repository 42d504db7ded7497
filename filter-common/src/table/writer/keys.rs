//! The keys of the hash tables: how each lies in its slots.

use super::super::compact::{
    NETWORK_VALUES, Network as NetworkShape, Shape, Single as SingleShape, home, network_tag, network_value,
    permute, permuted_of, single_tag, single_value, unpermute,
};
use super::super::exact::{
    LOWER_SLOTS, LOWER_VALUES, NARROW_SLOTS, UPPER_SLOTS, UPPER_VALUES, gathered_home, lower_home,
    narrow_home, upper_home,
};
use super::super::geometry::BUCKETS_A_LINE;
use super::super::lines::Line as _;
use super::super::memory::LineCell;
use super::super::slot::{GOES_ON, PAYLOAD_MASK_HALF, SET_MASK, narrow_key};

/// A bucket: a line, or a part of one that begins at some slot.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    pub line: &'a LineCell,
    pub first: u32,
    /// Which of the region's it is.
    pub index: u32,
}

/// What keys hash with: the generation's multiplier, and the region's number of buckets.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    pub multiplier: u64,
    pub buckets: u32,
}

/// A key of one of the tables, with its length in bits where there are several.
pub trait Key: Copy + PartialEq {
    /// Slots of a bucket.
    const SLOTS: u32;
    /// Buckets of a line.
    const BUCKETS_A_LINE: u32 = 1;
    /// What masks what a slot stands for.
    const PAYLOAD: u32 = PAYLOAD_MASK_HALF;
    /// The least value of a slot that is no key's and not free: above the payload.
    const MARK: u32 = 1 << PAYLOAD_MASK_HALF.count_ones();
    /// Whether the last slot of a bucket has a bit, [`Self::MARK`], for keys that lie behind, whatever lies in it; else
    /// anything in it tells of them.
    const MARKS_APART: bool = false;
    /// Whether one store changes a whole slot. Where it takes several, a search that is under way may see parts of two
    /// keys, so a slot rests before another key gets it.
    const IS_ONE_STORE: bool;

    /// The bucket that it hashes to.
    fn home(self, hashing: Hashing) -> u32;
    /// What a slot holds: zero when it is free, else something that is not, above what it stands for.
    fn value(bucket: Bucket<'_>, slot: u32) -> u32;
    /// The key of a slot that is in use.
    fn at(hashing: Hashing, bucket: Bucket<'_>, slot: u32) -> Self;
    /// Fills a slot.
    fn put(self, hashing: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32);
    /// Leaves nothing of a key in a slot but `value`, zero or a mark.
    fn clear(bucket: Bucket<'_>, slot: u32, value: u32);
    /// Takes the value away and leaves the rest.
    fn mark(bucket: Bucket<'_>, slot: u32, value: u32) {
        Self::clear(bucket, slot, value);
    }
}

/// An IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single(pub u32);

/// An IPv4 prefix of 25 to 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow(pub u32, pub u8);

/// An IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub u32);

/// An IPv6 prefix of 33 to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper(pub u64, pub u8);

/// An IPv6 prefix of 65 to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lower(pub u64, pub u64, pub u8);

/// An IPv6 prefix of 33 to 128 bits that lies where its network belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered(pub Lower);

impl Key for Single {
    const SLOTS: u32 = SingleShape::SLOTS;
    const BUCKETS_A_LINE: u32 = BUCKETS_A_LINE;
    const PAYLOAD: u32 = SingleShape::PAYLOAD_MASK;
    const MARK: u32 = 1 << SingleShape::PAYLOAD_BITS;
    const IS_ONE_STORE: bool = true;

    fn home(self, hashing: Hashing) -> u32 {
        home(permute(hashing.multiplier, self.0), hashing.buckets)
    }

    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        bucket.line.half(0, bucket.first + slot)
    }

    fn at(hashing: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        let tag = single_tag(Self::value(bucket, slot));
        let permuted = permuted_of::<SingleShape>(hashing.buckets, bucket.index, tag);
        Self(unpermute(hashing.multiplier, permuted))
    }

    fn put(self, hashing: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        Self::clear(bucket, slot, single_value(permute(hashing.multiplier, self.0), payload));
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store_half(0, bucket.first + slot, value);
    }
}

impl Key for Narrow {
    const SLOTS: u32 = NARROW_SLOTS;
    const IS_ONE_STORE: bool = true;

    fn home(self, hashing: Hashing) -> u32 {
        narrow_home(hashing.multiplier, hashing.buckets, self.0, self.1.into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        bucket.line.word(slot) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "an address and a length")]
    fn at(_: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        let word = bucket.line.word(slot);
        Self((word >> 32) as u32, (word >> 24) as u8)
    }

    fn put(self, _: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        bucket.line.store(slot, narrow_key(self.0, self.1.into()) << 24 | u64::from(payload));
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store(slot, value.into());
    }
}

impl Key for Network {
    const SLOTS: u32 = NetworkShape::SLOTS;
    const IS_ONE_STORE: bool = false;

    fn home(self, hashing: Hashing) -> u32 {
        home(permute(hashing.multiplier, self.0), hashing.buckets)
    }

    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        bucket.line.half(NETWORK_VALUES, slot)
    }

    fn at(hashing: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        let tag = network_tag(bucket.line.quarter(0, slot), Self::value(bucket, slot));
        let permuted = permuted_of::<NetworkShape>(hashing.buckets, bucket.index, tag);
        Self(unpermute(hashing.multiplier, permuted))
    }

    fn put(self, hashing: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        let (apart, value) = network_value(permute(hashing.multiplier, self.0), payload);
        bucket.line.store_quarter(0, slot, apart);
        Self::mark(bucket, slot, value);
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store_quarter(0, slot, 0);
        Self::mark(bucket, slot, value);
    }

    fn mark(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store_half(NETWORK_VALUES, slot, value);
    }
}

impl Key for Upper {
    const SLOTS: u32 = UPPER_SLOTS;
    const IS_ONE_STORE: bool = false;

    fn home(self, hashing: Hashing) -> u32 {
        upper_home(hashing.multiplier, hashing.buckets, self.0, self.1.into())
    }

    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        bucket.line.half(UPPER_VALUES, slot)
    }

    fn at(_: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        Self(bucket.line.word(slot), length_of(Self::value(bucket, slot)))
    }

    fn put(self, _: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        bucket.line.store(slot, self.0);
        Self::mark(bucket, slot, u32::from(self.1) << 24 | payload);
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store(slot, 0);
        Self::mark(bucket, slot, value);
    }

    fn mark(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store_half(UPPER_VALUES, slot, value);
    }
}

impl Key for Lower {
    const SLOTS: u32 = LOWER_SLOTS;
    const IS_ONE_STORE: bool = false;

    fn home(self, hashing: Hashing) -> u32 {
        lower_home(hashing.multiplier, hashing.buckets, (self.0, self.1), self.2.into())
    }

    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        bucket.line.half(LOWER_VALUES, slot)
    }

    fn at(_: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        let line = bucket.line;
        Self(line.word(2 * slot), line.word(2 * slot + 1), length_of(Self::value(bucket, slot)))
    }

    fn put(self, _: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        bucket.line.store(2 * slot, self.0);
        bucket.line.store(2 * slot + 1, self.1);
        Self::mark(bucket, slot, u32::from(self.2) << 24 | payload);
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store(2 * slot, 0);
        bucket.line.store(2 * slot + 1, 0);
        Self::mark(bucket, slot, value);
    }

    fn mark(bucket: Bucket<'_>, slot: u32, value: u32) {
        bucket.line.store_half(LOWER_VALUES, slot, value);
    }
}

impl Key for Gathered {
    const SLOTS: u32 = LOWER_SLOTS;
    const PAYLOAD: u32 = SET_MASK;
    const MARK: u32 = GOES_ON;
    const MARKS_APART: bool = true;
    const IS_ONE_STORE: bool = false;

    fn home(self, hashing: Hashing) -> u32 {
        gathered_home(hashing.multiplier, hashing.buckets, (self.0.0 >> 32) as u32)
    }

    fn value(bucket: Bucket<'_>, slot: u32) -> u32 {
        Lower::value(bucket, slot)
    }

    fn at(hashing: Hashing, bucket: Bucket<'_>, slot: u32) -> Self {
        Self(Lower::at(hashing, bucket, slot))
    }

    fn put(self, hashing: Hashing, bucket: Bucket<'_>, slot: u32, payload: u32) {
        self.0.put(hashing, bucket, slot, payload);
    }

    fn clear(bucket: Bucket<'_>, slot: u32, value: u32) {
        Lower::clear(bucket, slot, value);
    }

    fn mark(bucket: Bucket<'_>, slot: u32, value: u32) {
        Lower::mark(bucket, slot, value);
    }
}

/// The length that a value begins with.
const fn length_of(value: u32) -> u8 {
    (value >> 24) as u8
}

//! The slots of the hash tables: one store makes an entry appear or disappear.
//!
//! The lowest free slot is taken first, so a bucket's last slot is used only once the others are; it then stays in use,
//! if need be by a tombstone, because keys may lie behind it.

use super::super::compact::{
    NETWORK_RESTS, Network as NetworkShape, SINGLE_RESTS, Shape, Single as SingleShape, home, permute, rest,
    tag,
};
use super::super::exact::{
    LOWER_SLOTS, LOWER_VALUES, NARROW_SLOTS, UPPER_SLOTS, UPPER_VALUES, lower_home, narrow_home, upper_home,
};
use super::super::geometry::{REACH, Region};
use super::super::lines::Line as _;
use super::super::memory::LineCell;
use super::super::slot::{PAYLOAD_MASK_HALF, TOMBSTONE, narrow_key};
use super::{Full, Place};

/// More keys hash to one place than fit there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl From<Full> for Crowded {
    fn from(_: Full) -> Self {
        Self
    }
}

/// A key of one of the three widths, with its length in bits.
pub(super) trait Key: Copy {
    /// Slots of a line.
    const SLOTS: u32;
    /// Lines that it may lie in.
    const REACH: u32 = REACH;
    /// What masks what a slot stands for.
    const PAYLOAD: u32 = PAYLOAD_MASK_HALF;
    /// The value of a slot that was in use.
    const TOMBSTONE: u32 = TOMBSTONE;
    /// The bucket that it hashes to.
    fn home(self, multiplier: u64, buckets: u32) -> u32;
    /// What a slot holds: zero when free, else something that is not, above what it stands for.
    fn value(line: &LineCell, slot: u32) -> u32;
    /// Whether a slot is this key's.
    fn is_at(self, line: &LineCell, slot: u32) -> bool;
    /// Fills a slot.
    fn put(self, line: &LineCell, slot: u32, payload: u32);
    /// Empties a slot: `value` is 0 or a tombstone.
    fn clear(line: &LineCell, slot: u32, value: u32);
}

/// An IPv4 prefix of 25 to 31 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrow(pub u32, pub u8);

/// An IPv4 address, permuted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single(u32);

/// An IPv6 network, permuted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(u32);

/// An IPv6 prefix of 33 to 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upper(pub u64, pub u8);

/// An IPv6 prefix of 65 to 128 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lower(pub u64, pub u64, pub u8);

impl Single {
    pub(super) const fn new(place: Place<'_>, address: u32) -> Self {
        Self(permute(place.multiplier, address))
    }
}

impl Network {
    pub(super) const fn new(place: Place<'_>, network: u32) -> Self {
        Self(permute(place.multiplier, network))
    }
}

/// The tag goes first: a search that sees it beside the old rest finds nothing, as before.
///
/// A slot that was cleared may get another key. A search that read the rest of the one and the tag of the other takes
/// them for one key only if the rests of their tags are the same; it then finds the new key with the old key's set.
impl Key for Single {
    const SLOTS: u32 = SingleShape::SLOTS;
    const REACH: u32 = SingleShape::REACH;
    const PAYLOAD: u32 = SingleShape::PAYLOAD_MASK;
    const TOMBSTONE: u32 = 1 << SingleShape::PAYLOAD_BITS;

    fn home(self, _multiplier: u64, buckets: u32) -> u32 {
        home(self.0, buckets)
    }

    fn value(line: &LineCell, slot: u32) -> u32 {
        SingleShape::rest(line, slot)
    }

    fn is_at(self, line: &LineCell, slot: u32) -> bool {
        line.quarter(0, slot) == tag(self.0)
            && Self::value(line, slot) & !Self::PAYLOAD == rest::<SingleShape>(self.0, 0)
            && Self::value(line, slot) & Self::PAYLOAD != 0
    }

    fn put(self, line: &LineCell, slot: u32, payload: u32) {
        line.store_quarter(slot / 4, slot, tag(self.0));
        line.store_quarter(SINGLE_RESTS + slot / 4, slot, rest::<SingleShape>(self.0, payload));
    }

    fn clear(line: &LineCell, slot: u32, value: u32) {
        line.store_quarter(SINGLE_RESTS + slot / 4, slot, value);
    }
}

/// In the same order.
impl Key for Network {
    const SLOTS: u32 = NetworkShape::SLOTS;
    const REACH: u32 = NetworkShape::REACH;
    const PAYLOAD: u32 = NetworkShape::PAYLOAD_MASK;
    const TOMBSTONE: u32 = 1 << NetworkShape::PAYLOAD_BITS;

    fn home(self, _multiplier: u64, buckets: u32) -> u32 {
        home(self.0, buckets)
    }

    fn value(line: &LineCell, slot: u32) -> u32 {
        NetworkShape::rest(line, slot)
    }

    fn is_at(self, line: &LineCell, slot: u32) -> bool {
        line.quarter(0, slot) == tag(self.0)
            && Self::value(line, slot) & !Self::PAYLOAD == rest::<NetworkShape>(self.0, 0)
            && Self::value(line, slot) & Self::PAYLOAD != 0
    }

    fn put(self, line: &LineCell, slot: u32, payload: u32) {
        line.store_quarter(slot / 4, slot, tag(self.0));
        line.store_half(NETWORK_RESTS + slot / 2, slot, rest::<NetworkShape>(self.0, payload));
    }

    fn clear(line: &LineCell, slot: u32, value: u32) {
        line.store_half(NETWORK_RESTS + slot / 2, slot, value);
    }
}

impl Key for Narrow {
    const SLOTS: u32 = NARROW_SLOTS;

    fn home(self, multiplier: u64, buckets: u32) -> u32 {
        narrow_home(multiplier, buckets, self.0, self.1.into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    fn value(line: &LineCell, slot: u32) -> u32 {
        line.word(slot) as u32
    }

    fn is_at(self, line: &LineCell, slot: u32) -> bool {
        line.word(slot) >> 24 == narrow_key(self.0, self.1.into())
    }

    fn put(self, line: &LineCell, slot: u32, payload: u32) {
        line.store(slot, narrow_key(self.0, self.1.into()) << 24 | u64::from(payload));
    }

    fn clear(line: &LineCell, slot: u32, value: u32) {
        line.store(slot, u64::from(value));
    }
}

impl Key for Upper {
    const SLOTS: u32 = UPPER_SLOTS;

    fn home(self, multiplier: u64, buckets: u32) -> u32 {
        upper_home(multiplier, buckets, self.0, self.1.into())
    }

    fn value(line: &LineCell, slot: u32) -> u32 {
        line.half(UPPER_VALUES, slot)
    }

    fn is_at(self, line: &LineCell, slot: u32) -> bool {
        Self::value(line, slot) >> 24 == u32::from(self.1) && line.word(slot) == self.0
    }

    fn put(self, line: &LineCell, slot: u32, payload: u32) {
        line.store(slot, self.0);
        line.store_half(UPPER_VALUES + slot / 2, slot, u32::from(self.1) << 24 | payload);
    }

    fn clear(line: &LineCell, slot: u32, value: u32) {
        line.store_half(UPPER_VALUES + slot / 2, slot, value);
    }
}

impl Key for Lower {
    const SLOTS: u32 = LOWER_SLOTS;

    fn home(self, multiplier: u64, buckets: u32) -> u32 {
        lower_home(multiplier, buckets, (self.0, self.1), self.2.into())
    }

    fn value(line: &LineCell, slot: u32) -> u32 {
        line.half(LOWER_VALUES, slot)
    }

    fn is_at(self, line: &LineCell, slot: u32) -> bool {
        Self::value(line, slot) >> 24 == u32::from(self.2)
            && (line.word(2 * slot), line.word(2 * slot + 1)) == (self.0, self.1)
    }

    fn put(self, line: &LineCell, slot: u32, payload: u32) {
        line.store(2 * slot, self.0);
        line.store(2 * slot + 1, self.1);
        line.store_half(LOWER_VALUES + slot / 2, slot, u32::from(self.2) << 24 | payload);
    }

    fn clear(line: &LineCell, slot: u32, value: u32) {
        line.store_half(LOWER_VALUES + slot / 2, slot, value);
    }
}

/// What `key` stands for; 0 where it is not there.
pub(super) fn find<K: Key>(place: Place<'_>, region: Region, key: K) -> u32 {
    locate(place, region, key).map_or(0, |(line, slot)| K::value(line, slot) & K::PAYLOAD)
}

/// Adds `key`, or changes what it stands for; says whether it was there.
pub(super) fn insert<K: Key>(place: Place<'_>, region: Region, key: K, payload: u32) -> Result<bool, Full> {
    if let Some((line, slot)) = locate(place, region, key) {
        key.put(line, slot, payload);
        return Ok(true);
    }
    let free = reachable(place, region, key)
        .flat_map(|line| (0..K::SLOTS).map(move |slot| (line, slot)))
        .find(|(line, slot)| is_free::<K>(K::value(line, *slot)));
    let (line, slot) = free.ok_or(Full::Bucket)?;
    key.put(line, slot, payload);
    Ok(false)
}

/// Removes `key`; says whether it was there.
pub(super) fn remove<K: Key>(place: Place<'_>, region: Region, key: K) -> bool {
    let Some((line, slot)) = locate(place, region, key) else { return false };
    K::clear(line, slot, if slot == K::SLOTS - 1 { K::TOMBSTONE } else { 0 });
    true
}

/// Slots of a region that are in use and whose value is `wanted`.
pub(super) fn count<K: Key>(lines: &[LineCell], region: Region, wanted: impl Fn(u32) -> bool) -> usize {
    let lines = &lines[region.first as usize..(region.first + region.lines()) as usize];
    let slots = lines.iter().flat_map(|line| (0..K::SLOTS).map(move |slot| K::value(line, slot)));
    slots.filter(|value| !is_free::<K>(*value) && wanted(*value)).count()
}

/// Whether a slot of that value can be taken.
fn is_free<K: Key>(value: u32) -> bool {
    value == 0 || value == K::TOMBSTONE
}

fn locate<K: Key>(place: Place<'_>, region: Region, key: K) -> Option<(&LineCell, u32)> {
    for line in reachable(place, region, key) {
        if let Some(slot) = (0..K::SLOTS).find(|slot| key.is_at(line, *slot)) {
            return Some((line, slot));
        }
        if K::value(line, K::SLOTS - 1) == 0 {
            break;
        }
    }
    None
}

/// The lines that `key` may lie in: none where the region has no bucket, as what comes behind it is not its own.
fn reachable<K: Key>(place: Place<'_>, region: Region, key: K) -> impl Iterator<Item = &LineCell> {
    let home = region.first + key.home(place.multiplier, region.buckets);
    let reach = K::REACH.min(region.lines());
    place.lines[home as usize..(home + reach) as usize].iter()
}

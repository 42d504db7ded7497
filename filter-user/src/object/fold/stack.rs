//! What is known of a function's stack, and which of it may be known at all.
//!
//! Places are four bytes. A place that something else than the function's own loads and stores may reach, by a pointer that was
//! handed on or that is not followed, is not kept: what is written there stays written.

use super::value::Value;

/// Bytes of a function's stack.
const BYTES: i32 = 512;
/// Bytes of a place.
const PLACE: i32 = 4;
/// Places of it.
pub const PLACES: usize = 128;

/// A set of places, a bit each.
pub type Places = u128;

/// Where the part begins that others reach: offset from the top of the stack. All below is the function's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(i32);

impl Reach {
    /// Nothing is.
    pub const NONE: Self = Self(0);
    /// Everything is.
    pub const ALL: Self = Self(-BYTES);

    /// With a pointer handed on to a helper of the kernel, which reaches from there upward.
    pub const fn from(self, offset: i32) -> Self {
        if offset < self.0 { Self(offset) } else { self }
    }

    /// The places of so many bytes there, where they are the function's alone.
    pub fn own(self, offset: i32, bytes: i32) -> Option<Places> {
        if offset < -BYTES || offset.checked_add(bytes)? > self.0 {
            return None;
        }
        Some(places(offset, bytes))
    }
}

/// The places that so many bytes lie in; of what lies outside of the stack, none.
pub fn places(offset: i32, bytes: i32) -> Places {
    let (first, last) = (offset.div_euclid(PLACE), (offset + bytes - 1).div_euclid(PLACE));
    (first..=last).filter_map(number).fold(0, |places, place| places | 1 << place)
}

fn number(place: i32) -> Option<usize> {
    usize::try_from(place + BYTES / PLACE).ok().filter(|place| *place < PLACES)
}

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unknown,
    /// Four bytes.
    Half(Value),
    /// The lower four of eight.
    Lower(Value),
    /// The upper four of what is in the place below.
    Upper,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack([Place; PLACES]);

impl Stack {
    /// Of which nothing is known.
    pub const UNKNOWN: Self = Self([Place::Unknown; PLACES]);

    /// What so many bytes hold. The caller knows that they are the function's alone.
    pub fn load(&self, offset: i32, bytes: i32) -> Value {
        let place =
            number(offset.div_euclid(PLACE)).filter(|_| offset % PLACE == 0).map(|place| self.0[place]);
        match (place, bytes) {
            (Some(Place::Half(value)), 4) | (Some(Place::Lower(value)), 8) => value,
            (Some(Place::Lower(value)), 4) => value.lower_half(),
            _ => Value::Unknown,
        }
    }

    /// Writes so many bytes.
    pub fn store(&mut self, offset: i32, bytes: i32, value: Value) {
        self.forget(places(offset, bytes));
        let Some(place) = number(offset.div_euclid(PLACE)).filter(|_| offset % PLACE == 0) else { return };
        match bytes {
            4 => self.0[place] = Place::Half(value.lower_half()),
            8 if place + 1 < PLACES => {
                self.0[place] = Place::Lower(value);
                self.0[place + 1] = Place::Upper;
            }
            _ => {}
        }
    }

    /// Something unknown is written there.
    pub fn forget(&mut self, places: Places) {
        for place in (0..PLACES).filter(|place| places >> place & 1 != 0) {
            match self.0[place] {
                Place::Upper if place > 0 => self.0[place - 1] = Place::Unknown,
                Place::Lower(_) if place + 1 < PLACES => self.0[place + 1] = Place::Unknown,
                _ => {}
            }
            self.0[place] = Place::Unknown;
        }
    }

    /// What is known where it is one or the other; whether that is less. Says so if a pointer into the stack is lost.
    pub fn join(&mut self, other: &Self) -> Joined {
        let mut joined = Joined { is_less: false, loses_stack: false };
        for place in 0..PLACES {
            let (ours, theirs) = (self.0[place], other.0[place]);
            if ours == theirs || ours == Place::Unknown {
                joined.loses_stack |= ours == Place::Unknown && theirs.is_stack();
                continue;
            }
            joined.is_less = true;
            joined.loses_stack |= ours.is_stack() || theirs.is_stack();
            self.forget(1 << place);
        }
        joined
    }
}

impl Place {
    const fn is_stack(self) -> bool {
        matches!(self, Self::Lower(Value::Stack(_)))
    }
}

/// What a join came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub is_less: bool,
    pub loses_stack: bool,
}

//! Networks with few prefixes of more than 32 bits, which lie together where their network belongs.
//!
//! A network that gets its first one is gathered, whatever the draft knew of it, and stays so while it has few. A network
//! that is not gathered any more keeps its guide, so it does not come back here before the next generation.

use super::super::super::guides::{LengthBits, length_bit, union};
use super::super::super::networks::{self, payload};
use super::super::super::slot::{GATHERED, SET_BITS, part_bit};
use super::super::{Full, Place};
use super::{WriterV6, root_of};
use crate::keys::PrefixV6;

/// Prefixes that a gathered network has at most: what two lines hold. With more its prefixes are looked up by their
/// lengths from then on.
pub const GATHERED_MOST_EVER: usize = 6;

impl WriterV6 {
    pub(super) fn is_gathered(&self, place: Place<'_>, network: u32) -> bool {
        self.records.find(place, network) >> SET_BITS == GATHERED
    }

    /// The prefix first, then what leads to it.
    pub(super) fn insert_gathered(
        &mut self,
        place: Place<'_>,
        prefix: PrefixV6,
        set: u16,
    ) -> Result<(), Full> {
        let network = networks::of(prefix);
        let mut all = self.slots.gathered_in(place, network);
        if all.iter().any(|(other, _)| *other == prefix) {
            return self.slots.gather(place, prefix, set);
        }
        if all.len() < GATHERED_MOST_EVER && self.slots.gather(place, prefix, set).is_ok() {
            if all.is_empty() {
                let told = payload(networks::set_of(&self.networks, network), GATHERED);
                let told = self.records.insert(place, network, told);
                told.inspect_err(|_| _ = self.slots.ungather(place, prefix))?;
            }
        } else {
            all.push((prefix, set));
            self.scatter(place, network, &all)?;
            all.pop();
            self.slots.leave(all.iter().map(|(prefix, _)| *prefix));
        }
        self.coarse.mark_finer(place.lines, root_of(network), part_bit(network));
        self.deep += 1;
        Ok(())
    }

    /// Ends the gathering of a network that has come to have all these prefixes: they are all in slots of their own before
    /// its guide names them in one store. What was gathered stays, as searches that are under way may still come to it.
    fn scatter(&mut self, place: Place<'_>, network: u32, all: &[(PrefixV6, u16)]) -> Result<(), Full> {
        if !self.slots.fit(place, all) {
            return Err(Full::Bucket);
        }
        let mut lengths = LengthBits::default();
        for (prefix, set) in all {
            self.slots.put(place, *prefix, (*set).into())?;
            lengths = union(lengths, length_bit(prefix.length()));
        }
        let guide = self.guide(place, 0, lengths);
        let told = payload(networks::set_of(&self.networks, network), guide);
        self.records.insert(place, network, told).inspect_err(|_| {
            for (prefix, _) in all {
                let _ = self.slots.put(place, *prefix, 0);
            }
        })?;
        Ok(())
    }

    /// With the last one of its network, the guide goes.
    pub(super) fn remove_gathered(&mut self, place: Place<'_>, prefix: PrefixV6) -> bool {
        let network = networks::of(prefix);
        if !self.slots.ungather(place, prefix) {
            return false;
        }
        self.deep -= 1;
        if self.slots.gathered_in(place, network).is_empty() {
            match networks::set_of(&self.networks, network) {
                0 => self.records.remove(place, network),
                // Where there is no room to say so, the guide stays, and leads to nothing.
                set => _ = self.records.insert(place, network, payload(set, 0)),
            }
        }
        true
    }
}

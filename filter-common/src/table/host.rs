//! Prefix tables in ordinary memory: the host's side of the differential tests.

use std::collections::HashMap;

use super::{LengthTable, Lengths, Prefix, PrefixStore, Tables, longest_match, mark};
use crate::keys::{AddressV4, AddressV6, KeyV4, KeyV6};

/// Exact prefixes of both families.
#[derive(Clone, Debug, Default)]
struct Stores {
    v4: HashMap<KeyV4, u32>,
    v6: HashMap<KeyV6, u32>,
}

impl PrefixStore<KeyV4> for Stores {
    fn find(&self, key: &KeyV4) -> Option<u32> {
        self.v4.get(key).copied()
    }
}

impl PrefixStore<KeyV6> for Stores {
    fn find(&self, key: &KeyV6) -> Option<u32> {
        self.v6.get(key).copied()
    }
}

/// The three tables, filled prefix by prefix and never emptied.
#[derive(Clone, Debug, Default)]
pub struct HostTables {
    lengths: LengthTable,
    block: Stores,
    allow_source: Stores,
    allow_destination: Stores,
}

impl HostTables {
    /// Blocks the IPv4 sources of a prefix.
    pub fn block_v4(&mut self, address: AddressV4, length: u32, set: u32) {
        insert_v4(&mut self.block, &mut self.lengths.block, address, length, set);
    }

    /// Blocks the IPv6 sources of a prefix.
    pub fn block_v6(&mut self, address: AddressV6, length: u32, set: u32) {
        insert_v6(&mut self.block, &mut self.lengths.block, address, length, set);
    }

    /// Allows the IPv4 sources of a prefix.
    pub fn allow_source_v4(&mut self, address: AddressV4, length: u32, set: u32) {
        insert_v4(&mut self.allow_source, &mut self.lengths.allow_source, address, length, set);
    }

    /// Allows the IPv6 sources of a prefix.
    pub fn allow_source_v6(&mut self, address: AddressV6, length: u32, set: u32) {
        insert_v6(&mut self.allow_source, &mut self.lengths.allow_source, address, length, set);
    }

    /// Allows the IPv4 destinations of a prefix.
    pub fn allow_destination_v4(&mut self, address: AddressV4, length: u32, set: u32) {
        insert_v4(&mut self.allow_destination, &mut self.lengths.allow_destination, address, length, set);
    }

    /// Allows the IPv6 destinations of a prefix.
    pub fn allow_destination_v6(&mut self, address: AddressV6, length: u32, set: u32) {
        insert_v6(&mut self.allow_destination, &mut self.lengths.allow_destination, address, length, set);
    }
}

fn insert_v4(stores: &mut Stores, lengths: &mut Lengths, address: AddressV4, length: u32, set: u32) {
    mark(&mut lengths.v4, KeyV4::BITS, length, true);
    stores.v4.insert(KeyV4::containing(address, length), set);
}

fn insert_v6(stores: &mut Stores, lengths: &mut Lengths, address: AddressV6, length: u32, set: u32) {
    mark(&mut lengths.v6, KeyV6::BITS, length, true);
    stores.v6.insert(KeyV6::containing(address, length), set);
}

macro_rules! tables {
    ($key:ty, $address:ty) => {
        impl Tables<$address> for HostTables {
            fn allows_source(&self, source: &$address) -> bool {
                let (store, lengths) = (&self.allow_source, &self.lengths.allow_source);
                longest_match::<$key, _>(store, lengths, source).is_some()
            }

            fn allows_destination(&self, destination: &$address) -> bool {
                let (store, lengths) = (&self.allow_destination, &self.lengths.allow_destination);
                longest_match::<$key, _>(store, lengths, destination).is_some()
            }

            fn blocks(&self, source: &$address) -> bool {
                longest_match::<$key, _>(&self.block, &self.lengths.block, source).is_some()
            }
        }
    };
}

tables!(KeyV4, AddressV4);
tables!(KeyV6, AddressV6);

//! The sources that rules have banned: a map that programs write, read and shortened here.
//!
//! Decides what is a ban: an element whose end is still to come; programs leave those that are over in the map until their
//! places are wanted. Trusts nothing but the shape of the map. Costs two system calls an element, a tenth of a second where
//! it is full; looking at an element from here does not count as use of it, so it keeps no source from giving way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::SystemTime;

use aya::maps::{HashMap, Map, MapData, MapError};
use filter_common::abi::{AddressKey, MAX_BANS, map};
use filter_common::policy::observed::family;

use super::clock::Clock;
use super::values::open_map;
use super::{Dataplane, DataplaneError};

/// A source that is banned now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The source.
    pub address: IpAddr,
    /// When its ban ends.
    pub until: SystemTime,
}

pub(super) type Bans = HashMap<MapData, AddressKey, u64>;

impl Dataplane {
    /// The sources that are banned now, the one whose ban ends soonest first.
    ///
    /// # Errors
    /// When the pin cannot be read or the kernel does not answer.
    pub fn bans(&self) -> Result<Vec<Ban>, DataplaneError> {
        match open(&self.pins().bans())? {
            Some(bans) => {
                let clock = Clock::now();
                let found = read(&bans)?.into_iter();
                Ok(found.map(|(address, until_ns)| Ban { address, until: clock.time(until_ns) }).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Ends the bans of these sources now; says of each whether it was banned.
    ///
    /// # Errors
    /// Where another controller made the pins meanwhile; when the kernel refuses: bans of sources before the one that it
    /// refused have ended then.
    pub fn lift_bans(&mut self, addresses: &[IpAddr]) -> Result<Vec<bool>, DataplaneError> {
        self.check_owner()?;
        let Some(mut bans) = open(&self.pins().bans())? else { return Ok(vec![false; addresses.len()]) };
        let clock = Clock::now();
        addresses.iter().map(|address| lift(&mut bans, &key_of(*address), &clock)).collect()
    }
}

/// None where no rule has ever banned anybody: the map is pinned with the first policy that can.
pub(super) fn open(path: &Path) -> Result<Option<Bans>, DataplaneError> {
    if !path.exists() {
        return Ok(None);
    }
    let data = open_map(map::BANS, path)?;
    HashMap::try_from(Map::LruHashMap(data)).map(Some).map_err(DataplaneError::map(map::BANS))
}

/// Keys and ends of the bans that are not over.
pub(super) fn now_banned(bans: &Bans) -> Result<Vec<(AddressKey, u64)>, DataplaneError> {
    let found = read(bans)?.into_iter();
    Ok(found.map(|(address, until_ns)| (key_of(address), until_ns)).collect())
}

fn read(bans: &Bans) -> Result<Vec<(IpAddr, u64)>, DataplaneError> {
    let clock = Clock::now();
    // Where an element goes while it is looked at, the kernel begins with the first again: each is taken once, and a flood
    // that replaces them faster than they are read does not keep this from ending.
    let mut found: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for element in bans.iter().take(2 * MAX_BANS as usize) {
        let (key, until_ns) = element.map_err(DataplaneError::map(map::BANS))?;
        if let Some(address) = address_of(&key).filter(|_| !clock.is_over(until_ns)) {
            found.insert(address, until_ns);
        }
    }
    let mut found: Vec<(IpAddr, u64)> = found.into_iter().collect();
    found.sort_by_key(|(address, until_ns)| (*until_ns, *address));
    Ok(found)
}

fn lift(bans: &mut Bans, key: &AddressKey, clock: &Clock) -> Result<bool, DataplaneError> {
    let until_ns = match bans.get(key, 0) {
        Err(MapError::KeyNotFound) => return Ok(false),
        until_ns => until_ns.map_err(DataplaneError::map(map::BANS))?,
    };
    match bans.remove(key) {
        // It gave way to another in between.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.map_err(DataplaneError::map(map::BANS))?,
    }
    Ok(!clock.is_over(until_ns))
}

/// The key of an address.
pub(super) fn key_of(address: IpAddr) -> AddressKey {
    match address {
        IpAddr::V4(address) => {
            AddressKey { address: [u64::from(address.to_bits()), 0], family: family::V4.into() }
        }
        IpAddr::V6(address) => {
            let [first, last] = halves(address);
            AddressKey { address: [first, last], family: family::V6.into() }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a u128")]
const fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// None of a key that no program writes.
fn address_of(key: &AddressKey) -> Option<IpAddr> {
    let [first, last] = key.address;
    match u32::try_from(key.family).ok()? {
        family::V4 => Some(Ipv4Addr::from_bits(u32::try_from(first).ok()?).into()),
        family::V6 => Some(Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(last)).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_key_are_the_same() {
        for address in ["192.0.2.1", "255.255.255.255", "2001:db8::1", "::", "::ffff:192.0.2.1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(address_of(&key_of(address)), Some(address));
        }
        assert_eq!(key_of([192, 0, 2, 1].into()).address, [0xc000_0201, 0]);
        assert_eq!(address_of(&AddressKey { address: [1, 0], family: 0 }), None);
    }
}

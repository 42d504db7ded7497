//! Where the maps of a twin come from: the generation, the installation, or nowhere.
//!
//! Decides what a twin reads that others write, what it copies, and what is its own. What the program writes is never shared. What it
//! reads of the notes of what has left is: the kernel's LRU hashes mark an element that was looked up as used, so it may be kept
//! longer than another, and that is all that a twin moves. Costs of copies: a system call for each line of buckets and of verified
//! sources, for each gate and each ban, and another for each that is not empty.

use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use filter_common::abi::{
    AddressKey, MAX_ASKED, MAX_ASKED_HOSTS, MAX_BANS, MAX_OWN_ADDRESSES, RULE_SLOTS, SET_SLOTS, SynSecrets,
    map,
};
use filter_common::policy::limiter::KeyHasher;
use filter_common::policy::syn::{self, verified};
use filter_common::table::lines::WORDS;

use super::super::bans::{key_of, now_banned};
use super::super::generation::same_map;
use super::super::pins::Pins;
use super::super::{DataplaneError, own};
use super::{Live, TwinParts, missing};

/// Where a map of a twin comes from.
pub(super) enum Origin {
    /// The generation's own, which the twin only reads.
    Shared,
    /// The twin's own, empty, with so many elements.
    Own(fn(&TwinParts) -> u32),
    /// The installation's, with so many elements, where the twin is to begin with what is there and it is pinned: it is only read. Else
    /// the twin's own, empty.
    Read(fn(&TwinParts) -> u32, fn(&TwinParts, &Pins) -> Option<PathBuf>),
    /// The twin's own, filled with what the installation's holds where the twin is to begin there.
    Copied(fn(&TwinParts) -> u32, fn(&TwinParts, &Live, &mut Ebpf) -> Result<(), DataplaneError>),
}

/// What becomes of each map that the program refers to. What is not named here is as small as it was declared, and the twin's.
pub(super) const MAPS: [(&str, Origin); 12] = [
    (map::LINES, Origin::Shared),
    (map::COUNTERS, Origin::Own(|_| 1)),
    (map::SET_COUNTERS, Origin::Own(|_| SET_SLOTS)),
    (map::RULE_COUNTERS, Origin::Own(|parts| if parts.has_rules() { RULE_SLOTS } else { 1 })),
    (map::BUCKETS, Origin::Copied(|parts| parts.bucket_lines().max(1), copy_buckets)),
    (map::BANS, Origin::Copied(|parts| if parts.bans_anybody() { MAX_BANS } else { 1 }, copy_bans)),
    (
        map::ASKED,
        Origin::Read(
            |parts| if parts.asks() { MAX_ASKED } else { 1 },
            |parts, pins| parts.asks().then(|| pins.asked()),
        ),
    ),
    (
        map::ASKED_HOSTS,
        Origin::Read(
            |parts| if parts.asks() { MAX_ASKED_HOSTS } else { 1 },
            |parts, pins| parts.asks().then(|| pins.asked_hosts()),
        ),
    ),
    (
        map::OWN_ADDRESSES,
        Origin::Copied(|parts| if parts.claims() { MAX_OWN_ADDRESSES } else { 1 }, list_own_addresses),
    ),
    (map::SYN_SECRETS, Origin::Copied(|_| 1, copy_secrets)),
    (map::SYN_GATES, Origin::Copied(|parts| if parts.defends() { RULE_SLOTS } else { 1 }, copy_gates)),
    (
        map::VERIFIED,
        Origin::Copied(|parts| if parts.defends() { syn::SOURCE_LINES } else { 1 }, copy_verified),
    ),
];

/// Buckets as the program on the interfaces has them now.
fn copy_buckets(parts: &TwinParts, _: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    let Some(live) = &parts.buckets else { return Ok(()) };
    copy_lines((map::BUCKETS, live), parts.bucket_lines(), ebpf)
}

/// The first `most` lines of a map that programs on interfaces write, those that hold anything. A word is of one moment.
fn copy_lines(
    (name, live): (&'static str, &MapData),
    most: u32,
    ebpf: &mut Ebpf,
) -> Result<(), DataplaneError> {
    let live = Map::Array(same_map(name, live)?);
    let live = Array::<_, [u64; WORDS]>::try_from(live).map_err(DataplaneError::map(name))?;
    let own = ebpf.map_mut(name).ok_or_else(|| missing(name))?;
    let mut own = Array::<_, [u64; WORDS]>::try_from(own).map_err(DataplaneError::map(name))?;
    let copy = |line| match live.get(&line, 0)? {
        words if words == [0; WORDS] => Ok(()),
        words => own.set(line, words, 0),
    };
    (0..live.len().min(most)).try_for_each(copy).map_err(DataplaneError::map(name))
}

/// The bans of now.
fn copy_bans(_: &TwinParts, live: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    let Some(bans) = &live.bans else { return Ok(()) };
    let own = ebpf.map_mut(map::BANS).ok_or_else(|| missing(map::BANS))?;
    let mut own = HashMap::<_, AddressKey, u64>::try_from(own).map_err(DataplaneError::map(map::BANS))?;
    for (key, until_ns) in now_banned(bans)? {
        own.insert(key, until_ns, 0).map_err(DataplaneError::map(map::BANS))?;
    }
    Ok(())
}

/// The addresses of this host, which programs on interfaces know only where the policy in force asks.
fn list_own_addresses(parts: &TwinParts, _: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    if !parts.claims() {
        return Ok(());
    }
    let failed = || DataplaneError::map(map::OWN_ADDRESSES);
    let own = ebpf.map_mut(map::OWN_ADDRESSES).ok_or_else(|| missing(map::OWN_ADDRESSES))?;
    let mut own = HashMap::<_, AddressKey, u32>::try_from(own).map_err(failed())?;
    for address in own::wanted()?.into_iter().take(MAX_OWN_ADDRESSES as usize) {
        own.insert(key_of(address), 0, 0).map_err(failed())?;
    }
    Ok(())
}

/// The gates of now.
fn copy_gates(_: &TwinParts, live: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    let error = DataplaneError::map(map::SYN_GATES);
    let Some(live) = &live.gates else { return Ok(()) };
    let live = Map::Array(same_map(map::SYN_GATES, live)?);
    let live = Array::<_, u64>::try_from(live).map_err(DataplaneError::map(map::SYN_GATES))?;
    let own = ebpf.map_mut(map::SYN_GATES).ok_or_else(|| missing(map::SYN_GATES))?;
    let mut own = Array::<_, u64>::try_from(own).map_err(DataplaneError::map(map::SYN_GATES))?;
    let copy = |gate| match live.get(&gate, 0)? {
        0 => Ok(()),
        until => own.set(gate, until, 0),
    };
    (0..live.len()).try_for_each(copy).map_err(error)
}

/// The secrets of now. Without those a twin finds its sources by numbers of its own, and knows none that anybody answered.
fn copy_secrets(_: &TwinParts, live: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    let failed = || DataplaneError::map(map::SYN_SECRETS);
    let secrets = match &live.secrets {
        Some(live) => {
            let live = Map::Array(same_map(map::SYN_SECRETS, live)?);
            Array::<_, SynSecrets>::try_from(live).map_err(failed())?.get(&0, 0).map_err(failed())?
        }
        None => SynSecrets { places: KeyHasher::new(1, 0).words(), ..SynSecrets::default() },
    };
    let own = ebpf.map_mut(map::SYN_SECRETS).ok_or_else(|| missing(map::SYN_SECRETS))?;
    Array::<_, SynSecrets>::try_from(own).map_err(failed())?.set(0, secrets, 0).map_err(failed())
}

/// The sources that are let through now.
fn copy_verified(_: &TwinParts, live: &Live, ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    let Some(live) = &live.verified else { return Ok(()) };
    copy_lines((map::VERIFIED, live), verified::LINES, ebpf)
}

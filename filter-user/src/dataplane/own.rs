//! The addresses of this host, as programs know them that ask for sockets (`unclaimed`, `filter_common::policy::claimed`).
//!
//! Decides what is this host's own: each address on one of its interfaces. Not link-local ones of IPv6: sockets that use them are
//! bound to an interface, which may lie above the one that is filtered (a VLAN, a bridge), and are not found by that one's. Of
//! a family that it forwards, on whatever interface, none is: what it forwards under an address of its own (masquerading, DNAT, a
//! load balancer in the kernel) has no socket here, and a program on the way in cannot tell. Then rules with `unclaimed` are
//! about none of its packets. Where the host does not say, none is either.
//!
//! The list is written before a generation that asks comes in force, and seen to each second ([`Dataplane::look_after`]). Without a
//! controller it stays as it is: a new address is nobody's, and one that goes, or a family that begins to be forwarded, is this
//! host's own until a controller looks. Costs a dump of addresses, a few files, and a system call for each address.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};
use filter_common::abi::{AddressKey, MAX_OWN_ADDRESSES, map};
use filter_common::policy::tables::PolicyTables;
use tracing::warn;

use super::bans::key_of;
use super::pins::Pins;
use super::recovery::map_of;
use super::values::open_map;
use super::{Dataplane, DataplaneError};
use crate::guard::own_addresses;

/// Where the kernel tells which interfaces it forwards from, of each family.
const SETTINGS: [&str; 2] = ["/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"];

/// The families that this host forwards: IPv4, IPv6.
///
/// # Errors
/// When the settings cannot be read.
pub fn forwarded() -> io::Result<[bool; 2]> {
    let [v4, v6] = SETTINGS.map(|path| forwards(Path::new(path)));
    Ok([v4?, v6?])
}

/// Whether packets that come in by some interface are forwarded. `default` is of interfaces that are still to come.
fn forwards(settings: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(settings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == "default" {
            continue;
        }
        // The second since Linux 6.17, for IPv6.
        for name in ["forwarding", "force_forwarding"] {
            match std::fs::read_to_string(entry.path().join(name)) {
                Ok(setting) if setting.trim() != "0" => return Ok(true),
                Ok(_) => {}
                // None such, or of an interface that has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

/// What programs are to know.
pub(super) fn wanted() -> Result<BTreeSet<IpAddr>, DataplaneError> {
    let failed = |error: &dyn std::fmt::Display| DataplaneError::Netlink(error.to_string());
    let [v4, v6] = forwarded().map_err(|error| failed(&error))?;
    let own = own_addresses().map_err(|error| failed(&error))?;
    Ok(own
        .into_iter()
        .filter(|address| match address {
            IpAddr::V4(_) => !v4,
            IpAddr::V6(address) => !v6 && !address.is_unicast_link_local(),
        })
        .collect())
}

/// Has the list of programs say what is so now. Tells how many addresses it has no room for, if that is news.
fn write(list: MapData, wanted: BTreeSet<IpAddr>) -> Result<(), DataplaneError> {
    let failed = || DataplaneError::map(map::OWN_ADDRESSES);
    let mut list = HashMap::<_, AddressKey, u32>::try_from(Map::HashMap(list)).map_err(failed())?;
    let count = wanted.len();
    let wanted: BTreeSet<AddressKey> =
        wanted.into_iter().take(MAX_OWN_ADDRESSES as usize).map(key_of).collect();
    let known = list.keys().collect::<Result<BTreeSet<AddressKey>, MapError>>().map_err(failed())?;
    if known == wanted {
        return Ok(());
    }
    if count > wanted.len() {
        warn!(addresses = count, most = MAX_OWN_ADDRESSES, "`unclaimed` is about some of this host's only");
    }
    for gone in known.difference(&wanted) {
        list.remove(gone).map_err(failed())?;
    }
    for new in wanted.difference(&known) {
        list.insert(*new, 0, 0).map_err(failed())?;
    }
    Ok(())
}

/// Sees to it that the pinned list is that of now, where the policy asks.
pub(super) fn ensure(pins: &Pins, policy: &PolicyTables) -> Result<(), DataplaneError> {
    if !policy.claims() {
        return Ok(());
    }
    write(open_map(map::OWN_ADDRESSES, &pins.own_addresses())?, wanted()?)
}

impl Dataplane {
    /// Sees to the list where the generation in force asks; to that of its programs, where somebody has unpinned it. Where the
    /// host does not say what is its own, nothing is.
    pub(super) fn see_to_own_addresses(&self) -> Result<(), DataplaneError> {
        let policy = self.generation().and_then(|generation| generation.policy.as_deref());
        if !policy.is_some_and(PolicyTables::claims) {
            return Ok(());
        }
        let found = wanted();
        let path = self.pins().own_addresses();
        let list = if path.exists() { Some(open_map(map::OWN_ADDRESSES, &path)?) } else { None };
        let list = match (list, self.held_programs()?.first()) {
            (None, Some((_, program_id))) => map_of(map::OWN_ADDRESSES, *program_id)?,
            (list, _) => list,
        };
        let Some(list) = list else { return found.map(drop) };
        match found {
            Ok(wanted) => write(list, wanted),
            Err(error) => write(list, BTreeSet::new()).and(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_forwards_when_one_of_its_interfaces_does() {
        let settings = tempfile::tempdir().unwrap();
        let set = |interface: &str, name: &str, value: &str| {
            let directory = settings.path().join(interface);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(name), value).unwrap();
        };
        set("all", "forwarding", "0\n");
        set("default", "forwarding", "1\n");
        set("eth0", "forwarding", "0\n");
        assert!(!forwards(settings.path()).unwrap());
        set("eth1", "forwarding", "1\n");
        assert!(forwards(settings.path()).unwrap());
        set("eth1", "forwarding", "0\n");
        set("eth0", "force_forwarding", "1\n");
        assert!(forwards(settings.path()).unwrap());
        assert!(!forwards(&settings.path().join("no family")).unwrap());
    }
}

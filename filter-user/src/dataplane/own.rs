//! The addresses of this host, as programs know them that ask for sockets (`unclaimed`, `filter_common::policy::claimed`).
//!
//! Decides what is this host's own: each address on one of its interfaces. Of a family that it forwards, on whatever interface, none is: what it
//! forwards under an address of its own (masquerading, DNAT, a load balancer in the kernel) has no socket here, and a program on
//! the way in cannot tell. Then rules with `unclaimed` are about none of its packets. The list is written before a generation that asks comes in
//! force, and seen to each second ([`Dataplane::look_after`]); without a controller it stays as it is, so that a new address is nobody's, and one
//! that moves to another host goes on without mattering. Costs a dump of addresses, a few files, and a system call for each address.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, Map, MapError};
use filter_common::abi::{AddressKey, MAX_OWN_ADDRESSES, map};
use filter_common::policy::tables::PolicyTables;
use tracing::warn;

use super::bans::key_of;
use super::pins::Pins;
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
        match std::fs::read_to_string(entry.path().join("forwarding")) {
            Ok(setting) if setting.trim() != "0" => return Ok(true),
            // An interface that has just gone.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// What programs are to know.
pub(super) fn wanted() -> Result<BTreeSet<IpAddr>, DataplaneError> {
    let failed = |error: &dyn std::fmt::Display| DataplaneError::Netlink(error.to_string());
    let [v4, v6] = forwarded().map_err(|error| failed(&error))?;
    let own = own_addresses().map_err(|error| failed(&error))?;
    Ok(own.into_iter().filter(|address| if address.is_ipv4() { !v4 } else { !v6 }).collect())
}

/// Sees to it that the pinned list is that of now, where the policy asks.
pub(super) fn ensure(pins: &Pins, policy: &PolicyTables) -> Result<(), DataplaneError> {
    if !policy.claims() {
        return Ok(());
    }
    let (path, failed) = (pins.own_addresses(), || DataplaneError::map(map::OWN_ADDRESSES));
    let list = Map::HashMap(open_map(map::OWN_ADDRESSES, &path)?);
    let mut list = HashMap::<_, AddressKey, u32>::try_from(list).map_err(failed())?;
    let wanted = wanted()?;
    if wanted.len() > MAX_OWN_ADDRESSES as usize {
        warn!(
            addresses = wanted.len(),
            most = MAX_OWN_ADDRESSES,
            "rules with `unclaimed` are about some of this host's addresses only"
        );
    }
    let wanted: BTreeSet<AddressKey> =
        wanted.into_iter().take(MAX_OWN_ADDRESSES as usize).map(key_of).collect();
    let known = list.keys().collect::<Result<BTreeSet<AddressKey>, MapError>>().map_err(failed())?;
    for gone in known.difference(&wanted) {
        list.remove(gone).map_err(failed())?;
    }
    for new in wanted.difference(&known) {
        list.insert(*new, 0, 0).map_err(failed())?;
    }
    Ok(())
}

impl Dataplane {
    /// Sees to the list where the generation in force asks.
    pub(super) fn see_to_own_addresses(&self) -> Result<(), DataplaneError> {
        let path = self.pins().own_addresses();
        let policy = self.generation().and_then(|generation| generation.policy.as_deref());
        match policy.filter(|policy| policy.claims()) {
            Some(policy) if path.exists() => ensure(self.pins(), policy),
            // Nobody asks, or the list was unpinned: programs hold it, and the next generation has another.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_forwards_when_one_of_its_interfaces_does() {
        let settings = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &str| {
            let directory = settings.path().join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("forwarding"), value).unwrap();
        };
        set("all", "0\n");
        set("default", "1\n");
        set("eth0", "0\n");
        assert!(!forwards(settings.path()).unwrap());
        set("eth1", "1\n");
        assert!(forwards(settings.path()).unwrap());
        assert!(!forwards(&settings.path().join("no family")).unwrap());
    }
}

//! Neighbours on the link: address resolution of both families, and the search for duplicates.

use anyhow::{Result, ensure};

use super::{End, Place, passes};
use crate::field::INTERFACE;

impl Place {
    fn forget_neighbours(&self) -> Result<()> {
        let flush = ["neighbour", "flush", "dev", INTERFACE, "nud", "all"];
        End::BOTH.into_iter().try_for_each(|end| self.ns(end).run("ip", &flush).map(drop))
    }

    /// Adds an address that is to be searched for at a host, and waits for what it becomes: `dadfailed`, or nothing.
    fn search_for(&mut self, end: End, address: &str) -> Result<String> {
        let prefix = format!("{address}/64");
        self.ns(end).run("ip", &["address", "add", &prefix, "dev", INTERFACE])?;
        let mut shown = String::new();
        self.wait_until("the search for a duplicate is over", |place| {
            shown = place.ns(end).run("ip", &["-6", "address", "show", "dev", INTERFACE, "to", address])?;
            Ok(shown.contains("dadfailed") || !shown.contains("tentative"))
        })?;
        Ok(shown)
    }
}

pub fn neighbours_are_found() -> Result<()> {
    passes("neighbours", &["ping", "arping"], |place| {
        for end in End::BOTH {
            let other = end.other();
            place.forget_neighbours()?;
            let local = format!("{}%{INTERFACE}", other.link_local());
            for address in [other.v4(), other.v6(), &local] {
                place.done(end, "ping", &["-c", "2", "-i", "0.2", "-W", "5", address])?;
            }
            let known = place.ns(end).run("ip", &["neighbour", "show", "dev", INTERFACE])?;
            for address in [other.v4(), other.v6(), other.link_local()] {
                let resolved = |line: &str| line.starts_with(&format!("{address} lladdr"));
                ensure!(known.lines().any(resolved), "{address} is not among {known}");
            }
            place.done(end, "arping", &["-c", "2", "-w", "5", "-I", INTERFACE, other.v4()])?;
            place.done(end, "arping", &["-U", "-c", "1", "-w", "1", "-I", INTERFACE, end.v4()])?;
        }
        Ok(())
    })
}

pub fn duplicate_addresses_are_found() -> Result<()> {
    passes("duplicates", &["arping"], |place| {
        for end in End::BOTH {
            let search = |address| ["-D", "-c", "1", "-w", "2", "-I", INTERFACE, address];
            let taken = place.ask(end, "arping", &search(end.other().v4()))?;
            ensure!(taken.code == Some(1), "the other's address is free: {taken:?}");
            place.done(end, "arping", &search("11.0.0.77"))?;
            for name in ["accept_dad", "dad_transmits"] {
                place.ns(end).sysctl(&format!("net/ipv6/conf/{INTERFACE}/{name}"), "1")?;
            }
            let free = place.search_for(end, &format!("2a00::{}", end.name().len()))?;
            ensure!(!free.contains("dadfailed"), "{free}");
            let taken = place.search_for(end, end.other().v6())?;
            ensure!(taken.contains("dadfailed"), "the other's address is free: {taken}");
        }
        Ok(())
    })
}

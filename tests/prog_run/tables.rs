//! The live tables as the controller sees them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::map;
use filter_common::config::Switches;
use filter_common::table::LengthTable;
use filter_common::verdict::Reason;
use filter_user::dataplane::Capacity;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{PrefixTables, SetId, TableError, TableKind};
use harness::{Attached, Frame, Sandbox, VethOptions};
use ipnet::{IpNet, Ipv4Net};

fn entries(tables: &impl PrefixTables, kind: TableKind) -> Result<BTreeMap<IpNet, SetId>> {
    Ok(tables.entries(kind)?.into_iter().collect())
}

/// Which lengths the program searches.
fn lengths(attached: &Attached) -> Result<LengthTable> {
    let data = MapData::from_pin(attached.root().join("tables").join(map::LENGTHS))?;
    Ok(Array::<_, LengthTable>::try_from(Map::Array(data))?.get(&0, 0)?)
}

fn full(result: Result<(), TableError>) -> Result<(&'static str, usize)> {
    match result {
        Err(TableError::Full { family, capacity }) => Ok((family, capacity)),
        other => bail!("expected a full table, got {other:?}"),
    }
}

pub fn a_full_table_refuses_and_stays_as_it_was() -> Result<()> {
    const ROOM: u32 = 8;
    let sandbox = Sandbox::enter("a_full_table_refuses")?;
    let capacity = Capacity { block: ROOM, allow: 2 * ROOM };
    let mut attached =
        Attached::with(&sandbox, Native, Switches::DEFAULT, capacity, &VethOptions::default())?;
    for (kind, room) in [(TableKind::Block, ROOM), (TableKind::AllowSource, 2 * ROOM)] {
        ensure!(attached.tables.capacity(kind) == room as usize);
        for host in 0..room {
            attached.tables.insert(kind, Ipv4Net::from(Ipv4Addr::from_bits(host)).into(), 1)?;
        }
        let (before, searched) = (entries(&attached.tables, kind)?, lengths(&attached)?);
        for refused in ["192.0.2.1/32", "192.0.2.0/24", "0.0.0.0/0"] {
            let (family, capacity) = full(attached.tables.insert(kind, refused.parse()?, 1))?;
            ensure!((family, capacity) == ("IPv4", room as usize), "{family}, {capacity}");
        }
        ensure!(entries(&attached.tables, kind)? == before, "{kind:?} changed");
        ensure!(lengths(&attached)? == searched, "lengths that {kind:?} does not hold are searched");
        // The set of what is there can change, the other family has room of its own, and room comes back.
        attached.tables.insert(kind, "0.0.0.3/32".parse()?, 7)?;
        ensure!(entries(&attached.tables, kind)?.get(&"0.0.0.3/32".parse()?) == Some(&7));
        attached.tables.insert(kind, "2001:db8::/32".parse()?, 1)?;
        ensure!(attached.tables.remove(kind, "0.0.0.3/32".parse()?)?);
        attached.tables.insert(kind, "192.0.2.0/24".parse()?, 1)?;
        full(attached.tables.insert(kind, "192.0.2.1/32".parse()?, 1))?;
    }
    let probe = attached.probe()?;
    for (source, expected) in [
        ([0, 0, 0, 3], Reason::NoMatch),
        ([192, 0, 2, 200], Reason::AllowedSource),
        ([198, 51, 100, 1], Reason::NoMatch),
    ] {
        let frame = Frame::eth([2; 6], [4; 6]).ipv4(source, [203, 0, 113, 1]).udp(1, 2).build();
        let reason = probe.reason(&frame)?;
        ensure!(reason == expected, "{source:?}: {}", reason.name());
    }
    Ok(())
}

pub fn tables_answer_what_was_put_into_them() -> Result<()> {
    let sandbox = Sandbox::enter("tables_answer")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let put: BTreeMap<IpNet, SetId> = [
        ("0.0.0.0/0", 1),
        ("10.0.0.0/8", 2),
        ("10.1.2.3/32", 3),
        ("::/0", 4),
        ("2001:db8::/32", 5),
        ("2001:db8::1/128", 6),
        // A prefix of neither word and one of both.
        ("2001:db8:0:1::/64", 7),
        ("2001:db8:0:1::/65", 8),
    ]
    .into_iter()
    .map(|(prefix, set)| Ok((prefix.parse()?, set)))
    .collect::<Result<_>>()?;
    for kind in TableKind::ALL {
        for (prefix, set) in &put {
            attached.tables.insert(kind, *prefix, *set)?;
        }
        ensure!(entries(&attached.tables, kind)? == put, "{kind:?}");
        for (asked, found) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.4", "10.0.0.0/8"),
            ("11.0.0.0/9", "0.0.0.0/0"),
            ("10.0.0.0/7", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8:0:1::5", "2001:db8:0:1::/65"),
            ("2001:db8:0:1:8000::", "2001:db8:0:1::/64"),
            ("2001:db9::1", "::/0"),
        ] {
            let asked: IpNet = asked.parse().or_else(|_| asked.parse().map(std::net::IpAddr::into))?;
            let answer = attached.tables.longest_match(kind, asked)?.with_context(|| asked.to_string())?;
            let found: IpNet = found.parse()?;
            ensure!(answer == (found, put[&found]), "{asked} in {kind:?}: {answer:?}");
        }
        // What another handle reads is the same.
        ensure!(entries(&attached.dataplane.tables()?, kind)? == put);
        for prefix in put.keys() {
            ensure!(attached.tables.remove(kind, *prefix)?);
        }
        ensure!(entries(&attached.tables, kind)?.is_empty());
    }
    ensure!(lengths(&attached)? == LengthTable::default(), "empty tables are not searched");
    Ok(())
}

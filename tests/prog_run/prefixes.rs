//! Prefixes of every length in every table, at their boundaries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::verdict::Reason;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{PrefixTables as _, TableKind};
use harness::{Attached, Frame, Probe, Sandbox};
use ipnet::IpNet;

/// A short prefix holds loopback and multicast, so the check of sources is off.
const SWITCHES: Switches = Switches { bogon_source: 0, ..Switches::DEFAULT };

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(170, 85, 204, 51));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xaa55, 0xcc33, 0xf00f, 0x0ff0, 0x1234, 0x5678, 0x9abc, 0xdef1));

fn frame(source: IpAddr, destination: IpAddr) -> Frame {
    let eth = Frame::eth([2; 6], [4; 6]);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => eth.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => eth.ipv6(source, destination),
        _ => panic!("{source} and {destination} are of two families"),
    }
    .udp(1, 2)
    .build()
}

/// The frame that asks a table about an address, and what it ends with when the address is there.
fn question(kind: TableKind, address: IpAddr) -> (Frame, Reason) {
    let other = if address.is_ipv4() { IpAddr::from([9, 9, 9, 9]) } else { IpAddr::from([0x39; 16]) };
    match kind {
        TableKind::Block => (frame(address, other), Reason::BlockedSource),
        TableKind::AllowSource => (frame(address, other), Reason::AllowedSource),
        TableKind::AllowDestination => (frame(other, address), Reason::AllowedDestination),
        TableKind::RuleSource | TableKind::RuleDestination => panic!("no frame asks {kind:?} alone"),
    }
}

fn holds(probe: &Probe, kind: TableKind, address: IpAddr) -> Result<bool> {
    let (frame, found) = question(kind, address);
    match probe.reason(&frame)? {
        Reason::NoMatch => Ok(false),
        reason if reason == found => Ok(true),
        reason => anyhow::bail!("{address} ended with {}", reason.name()),
    }
}

/// The address `steps` behind `address`, unless it is past an end.
fn beside(address: IpAddr, steps: i8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            address.to_bits().checked_add_signed(steps.into()).map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(address) => {
            address.to_bits().checked_add_signed(steps.into()).map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

fn every_length(kind: TableKind) -> Result<()> {
    let sandbox = Sandbox::enter("prefixes_of_every_length")?;
    let mut attached = Attached::new(&sandbox, Native, SWITCHES)?;
    let probe = attached.probe()?;
    for (base, bits) in [(V4, 32), (V6, 128)] {
        for length in 0..=bits {
            let prefix = IpNet::new(base, length)?.trunc();
            let ends = [prefix.network(), base, prefix.broadcast()];
            let outside = [beside(ends[0], -1), beside(ends[2], 1)];
            attached.opened.tables.insert(kind, prefix, 1)?;
            for address in ends {
                ensure!(holds(&probe, kind, address)?, "{address} is in {prefix}");
            }
            for address in outside.into_iter().flatten() {
                ensure!(!holds(&probe, kind, address)?, "{address} is not in {prefix}");
            }
            ensure!(attached.opened.tables.remove(kind, prefix)?, "{prefix} was there");
            for address in ends {
                ensure!(!holds(&probe, kind, address)?, "{prefix} is gone, yet {address} is found");
            }
        }
    }
    // All lengths at once, then without the shortest ones.
    for (base, bits) in [(V4, 32_u8), (V6, 128)] {
        let prefixes: Vec<IpNet> =
            (0..=bits).map(|length| Ok(IpNet::new(base, length)?.trunc())).collect::<Result<_>>()?;
        for prefix in &prefixes {
            attached.opened.tables.insert(kind, *prefix, 1)?;
        }
        for (index, prefix) in prefixes.iter().enumerate() {
            for address in [prefix.network(), base, prefix.broadcast()] {
                ensure!(holds(&probe, kind, address)?, "{address} is in {prefix}");
            }
            attached.opened.tables.remove(kind, *prefix)?;
            // What is left begins one bit further in: the other half is out.
            let kept = prefixes.get(index + 1);
            for address in [prefix.network(), prefix.broadcast()] {
                let inside = kept.is_some_and(|kept| kept.contains(&address));
                let found = holds(&probe, kind, address).context("beside what is left")?;
                ensure!(found == inside, "{address}: {found} without {prefix}");
            }
        }
    }
    Ok(())
}

pub fn blocked_prefixes_of_every_length_hold_exactly_their_addresses() -> Result<()> {
    every_length(TableKind::Block)
}

pub fn allowed_source_prefixes_of_every_length_hold_exactly_their_addresses() -> Result<()> {
    every_length(TableKind::AllowSource)
}

pub fn allowed_destination_prefixes_of_every_length_hold_exactly_their_addresses() -> Result<()> {
    every_length(TableKind::AllowDestination)
}

pub fn nested_prefixes_come_and_go_without_disturbing_each_other() -> Result<()> {
    let sandbox = Sandbox::enter("nested_prefixes")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let probe = attached.probe()?;
    let net = |text: &str| -> Result<IpNet> { Ok(text.parse()?) };
    let reason = |source: &str| -> Result<Reason> {
        let source: IpAddr = source.parse()?;
        probe.reason(&question(TableKind::Block, source).0)
    };
    for (broad, middle, narrow, inner, between, outer) in [
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.1.2.3", "10.1.2.4", "10.2.0.1"),
        (
            "2001:db8::/32",
            "2001:db8:1::/48",
            "2001:db8:1::7/128",
            "2001:db8:1::7",
            "2001:db8:1::8",
            "2001:db8:2::1",
        ),
    ] {
        let expect = |expected: [Reason; 3]| -> Result<()> {
            for (source, expected) in [inner, between, outer].into_iter().zip(expected) {
                let reason = reason(source)?;
                ensure!(reason == expected, "{source}: {}, not {}", reason.name(), expected.name());
            }
            Ok(())
        };
        use Reason::{AllowedSource, BlockedSource, NoMatch};
        attached.opened.tables.insert(TableKind::Block, net(broad)?, 1)?;
        attached.opened.tables.insert(TableKind::Block, net(narrow)?, 2)?;
        expect([BlockedSource; 3])?;
        attached.opened.tables.insert(TableKind::AllowSource, net(middle)?, 3)?;
        expect([AllowedSource, AllowedSource, BlockedSource])?;
        ensure!(attached.opened.tables.remove(TableKind::AllowSource, net(middle)?)?);
        ensure!(attached.opened.tables.remove(TableKind::Block, net(broad)?)?);
        expect([BlockedSource, NoMatch, NoMatch])?;
        ensure!(attached.opened.tables.remove(TableKind::Block, net(narrow)?)?);
        ensure!(!attached.opened.tables.remove(TableKind::Block, net(narrow)?)?, "it is gone already");
        expect([NoMatch; 3])?;
    }
    Ok(())
}

//! Interfaces that are deleted while Levee is on them and on others.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::{Levee, Netns, VethOptions, VethPair};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, counted, lines, status, wait_until};

const SECOND: &str = "eth1";

fn options(number: u8) -> VethOptions {
    VethOptions { macs: [[2, 0, 0, 0, number, 0x0a], [2, 0, 0, 0, number, 0x0b]], ..VethOptions::default() }
}

/// The indexes that interfaces are pinned under.
fn pinned(levee: &Levee) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(levee.pins().join("interfaces"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn generations(levee: &Levee) -> Result<usize> {
    Ok(fs::read_dir(levee.pins().join("generations"))?.count())
}

/// Two interfaces with the filter, of which the second is then deleted.
fn one_of_two(name: &str) -> Result<(Field, Netns, Levee)> {
    let field = Field::new(name)?;
    let third = Netns::new(&field.sandbox, "third")?;
    VethPair::new(&third, SECOND, &field.victim, SECOND, &options(1))?;
    let levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, SECOND])?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    ensure!(pinned(&levee)?.len() == 2);
    third.run("ip", &["link", "delete", SECOND])?;
    Ok((field, third, levee))
}

pub fn a_deleted_interface_keeps_no_other_from_a_bulk_change() -> Result<()> {
    let (field, third, levee) = one_of_two("a_deleted_interface")?;
    let list = |net: u8, count: u16| {
        let address = |host: u16| {
            let [high, low] = host.to_be_bytes();
            IpAddr::from([10, net, high, low])
        };
        lines((0..count).map(address))
    };
    let lists = [field.file("0", list(0, 50))?, field.file("1", list(1, 50))?];
    for file in &lists {
        levee.ok(&["set", "import", "x", file, "--replace"])?;
    }
    ensure!(pinned(&levee)?.len() == 1 && generations(&levee)? == 1, "what the second had pinned stayed");
    let blocked = |source: [u8; 4]| field.raw()?.send(&field.udp(BLOCKED_MAC, source.into()));
    blocked([10, 1, 0, 7])?;
    let traffic = counted(&levee, INTERFACE, 1)?;
    ensure!(traffic.of(Reason::BlockedSource).packets == 1, "{traffic:?}");
    // More than the tables in force have room for, one by one.
    levee.ok(&["set", "import", "grown", &field.file("grown", list(2, 3_000))?])?;
    blocked([10, 2, 0x0b, 0xb7])?;
    let traffic = counted(&levee, INTERFACE, 2)?;
    ensure!(traffic.of(Reason::BlockedSource).packets == 2, "{traffic:?}");
    levee.ok(&["set", "flush", "x"])?;
    levee.ok(&["set", "rm", "grown"])?;
    blocked([10, 2, 0x0b, 0xb7])?;
    let traffic = counted(&levee, INTERFACE, 3)?;
    ensure!(traffic.of(Reason::NoMatch).packets == 1, "{traffic:?}");

    // It comes back as another one, and both follow.
    VethPair::new(&third, SECOND, &field.victim, SECOND, &options(2))?;
    levee.ok(&["attach", SECOND])?;
    levee.ok(&["set", "import", "x", &lists[0], "--replace"])?;
    let told: BTreeSet<u32> = status(&levee)?.interfaces.iter().map(|it| it.generation).collect();
    ensure!(told.len() == 1 && pinned(&levee)?.len() == 2 && generations(&levee)? == 1, "{told:?}");
    Ok(())
}

pub fn when_the_last_interface_is_deleted_changes_go_on_and_no_pin_stays() -> Result<()> {
    let (field, _third, levee) = one_of_two("the_last_is_deleted")?;
    field.attacker.run("ip", &["link", "delete", INTERFACE])?;
    let list = field.file("list", "192.0.2.0/24\n198.51.100.0/24\n2001:db8::/32\n")?;
    levee.ok(&["set", "import", "x", &list, "--replace"])?;
    ensure!(!levee.pins().exists(), "pins of nothing stayed");
    levee.ok(&["block", "test", "192.0.2.1", "203.0.113.1"])?;
    VethPair::new(&field.attacker, INTERFACE, &field.victim, INTERFACE, &VethOptions::default())?;
    levee.ok(&["attach", INTERFACE])?;
    let before = status(&levee)?.interfaces[0].traffic.rx.packets;
    field.raw()?.send(&field.udp(BLOCKED_MAC, [192, 0, 2, 200].into()))?;
    let traffic = counted(&levee, INTERFACE, before + 1)?;
    ensure!(traffic.of(Reason::BlockedSource).packets == 1, "{traffic:?}");
    Ok(())
}

/// Interfaces are deleted one after the other, each while tables are replaced: in between the programs are loaded for
/// interfaces that are there, and put on links that have lost theirs.
pub fn interfaces_that_are_deleted_in_the_middle_of_a_swap_do_not_stop_it() -> Result<()> {
    const MORE: u8 = 6;
    let field = Field::new("deleted_in_a_swap")?;
    let third = Netns::new(&field.sandbox, "third")?;
    let name = |number: u8| format!("more{number}");
    for number in 0..MORE {
        VethPair::new(&third, &name(number), &field.victim, &name(number), &options(number + 1))?;
    }
    let levee = field.levee()?;
    let names: Vec<String> = (0..MORE).map(name).collect();
    let all: Vec<&str> = ["attach", INTERFACE].into_iter().chain(names.iter().map(String::as_str)).collect();
    levee.ok(&all)?;
    let host =
        |list: u32, host: u32| IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + (list << 20) + host * 3));
    let list = |number: u32| lines((0..40_000).map(|index| host(number, index)));
    let files = [field.file("0", list(0))?, field.file("1", list(1))?];
    for (turn, name) in names.iter().enumerate() {
        std::thread::scope(|scope| -> Result<()> {
            let import = scope.spawn(|| levee.cmd(&["set", "import", "x", &files[turn % 2], "--replace"]));
            // As soon as its next program is pinned, which is before any link gets one.
            let next = levee.pins().join("generations");
            let known = fs::read_dir(&next)?.count();
            wait_until("the next generation is pinned", || {
                Ok(import.is_finished() || fs::read_dir(&next)?.count() > known)
            })?;
            std::thread::sleep(Duration::from_millis(turn as u64 * 10));
            third.run("ip", &["link", "delete", name])?;
            let said = import.join().expect("the import does not panic")?;
            ensure!(said.code == Some(0), "{name}: {}", said.stderr);
            Ok(())
        })
        .with_context(|| name.clone())?;
    }
    levee.ok(&["set", "import", "x", &files[0], "--replace"])?;
    ensure!(pinned(&levee)?.len() == 1 && generations(&levee)? == 1);
    let interfaces = status(&levee)?.interfaces;
    ensure!(interfaces.len() == 1 && interfaces[0].name.as_deref() == Some(INTERFACE), "{interfaces:?}");
    println!("deleted_in_a_swap: {} links had lost their interface", levee.log().matches("is gone").count());
    Ok(())
}

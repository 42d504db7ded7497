//! Redirection: packets leave by another interface, as they came.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use filter_common::verdict::Reason;
use harness::filter::INTERFACE;
use harness::{CountDrop, Netns, RawSocket, Sandbox, VethOptions, VethPair};

use super::bench::Bench;
use super::frames::{arp, tagged, udp};

pub fn what_a_rule_redirects_leaves_by_that_interface_and_nothing_else_does() -> Result<()> {
    let sandbox = Sandbox::enter("rules_redirect")?;
    let mut bench = Bench::new(&sandbox)?;
    let third = Netns::new(&sandbox, "third")?;
    let inside = bench.attached.inside.clone();
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 0, 0x1a], [2, 0, 0, 0, 0, 0x1b]], ..VethOptions::default() };
    let pair = VethPair::new(&inside, "eth1", &third, INTERFACE, &options)?;
    bench.names.interfaces.insert("eth1".to_owned(), pair.a.index);
    let drop = CountDrop::attach(&third, INTERFACE)?;
    bench.rules("redirect eth1 vlan 100\ndrop udp\n")?;
    let mut socket = RawSocket::open(&bench.attached.outside, INTERFACE)?;
    let mut expected = (0, 0);
    let [v4, v6] = udp();
    let frames = [v4, v6, arp()];
    for frame in &frames {
        bench.expect(&tagged(frame, &[(0x8100, 100)]), Reason::RuleRedirect, &[0])?;
    }
    for frame in &frames {
        for (vlan, leaves) in [(100, true), (101, false)] {
            let frame = tagged(frame, &[(0x8100, vlan)]);
            let before = bench.probe().counters().read()?;
            socket.send(&frame)?;
            let after = bench.probe().counters().wait(&before)?;
            let reason = harness::filter::only_reason(&before, &after, frame.len())?;
            ensure!((reason == Reason::RuleRedirect) == leaves, "{}", reason.name());
            if leaves {
                expected = (expected.0 + 1, expected.1 + frame.len() as u64);
            }
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let dropped = drop.dropped()?;
        let arrived = (dropped.packets, dropped.bytes);
        if arrived == expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{arrived:?} packets and bytes arrived, not {expected:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

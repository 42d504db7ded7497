//! Limits: what has one of its own, what packets cost, and what becomes of those over it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::verdict::Reason;
use harness::contract::FAMILIES;
use harness::packet::{Builder, Family};
use harness::{Frame, Sandbox};

use super::bench::{Bench, hex};
use super::frames::{arp, between, both, from, tagged, to, v4, v6};

/// A frame, and whether it is over the limit.
type Step = (Frame, bool);

/// Runs the steps under a limit, whose rule is the first. They must be over before a limit of one packet or a thousand bits
/// a second gives anything back that matters here, which a busy machine may not manage at once.
fn follow(bench: &mut Bench, rules: &str, otherwise: Option<Reason>, steps: &[Step]) -> Result<()> {
    const ENOUGH: Duration = Duration::from_millis(400);
    for _ in 0..5 {
        bench.rules(rules)?;
        let start = Instant::now();
        let mut found = Vec::new();
        for (frame, _) in steps {
            found.push(bench.run(frame)?);
        }
        if start.elapsed() > ENOUGH {
            // Equal limits keep their buckets: until they are full again.
            std::thread::sleep(Duration::from_secs(6));
            continue;
        }
        for (number, ((frame, is_over), (reason, counted))) in steps.iter().zip(found).enumerate() {
            let passes =
                otherwise.unwrap_or(if frame[12..14] == [8, 6] { Reason::NonIp } else { Reason::NoMatch });
            let expected = if *is_over { Reason::OverLimit } else { passes };
            let what = || format!("{rules}: frame {} of {}: {}", number + 1, steps.len(), hex(frame));
            ensure!(reason == expected, "{}, not {}: {}", reason.name(), expected.name(), what());
            // It counts what is over it, and nothing else.
            ensure!(counted.contains(&0) == *is_over, "{counted:?}: {}", what());
        }
        return Ok(());
    }
    bail!("{} frames never took less than {ENOUGH:?}", steps.len())
}

/// Frames of one key: two are within the limit, all others over it. Then one of another key, which is within its own.
fn key(same: Vec<Frame>, other: Frame) -> Vec<Step> {
    let mut steps: Vec<Step> =
        same.into_iter().enumerate().map(|(number, frame)| (frame, number >= 2)).collect();
    steps.push((other, false));
    steps
}

fn all(frame: fn(&str) -> Frame, addresses: [&str; 4]) -> (Vec<Frame>, Frame) {
    let mut frames = addresses.map(frame).to_vec();
    let other = frames.pop().expect("four");
    (frames, other)
}

pub fn each_source_has_its_own() -> Result<()> {
    let sandbox = Sandbox::enter("limits_source")?;
    let mut bench = Bench::new(&sandbox)?;
    for [one, near, far] in
        [["192.0.2.1", "192.0.2.2", "198.18.0.1"], ["2001:db8::1", "2001:db8::2", "2001:db9::1"]]
    {
        let address = |text: &str| text.parse().expect("an address");
        let ends = |source: &str, last: u16| {
            between(
                address(source),
                match address(far) {
                    std::net::IpAddr::V4(_) => {
                        std::net::Ipv4Addr::new(198, 51, 100, last.to_be_bytes()[1]).into()
                    }
                    std::net::IpAddr::V6(_) => {
                        std::net::Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, last).into()
                    }
                },
            )
        };
        let same = (1..=4).map(|last| ends(one, last)).collect();
        let mut steps = key(same, ends(near, 1));
        steps.extend([
            (ends(far, 1), false),
            (ends(near, 2), false),
            (ends(near, 3), true),
            (ends(far, 1), false),
        ]);
        follow(&mut bench, "limit 1/s burst 2 per source udp\n", None, &steps)?;
    }
    Ok(())
}

pub fn sources_of_a_prefix_share_one() -> Result<()> {
    let sandbox = Sandbox::enter("limits_prefix")?;
    let mut bench = Bench::new(&sandbox)?;
    for (key_text, addresses) in [
        ("source/24", ["192.0.2.0", "192.0.2.255", "192.0.2.9", "192.0.3.0"]),
        ("source/24", ["2001:db8:1::", "2001:db8:1:ffff::1", "2001:db8:1:8000::", "2001:db8:2::"]),
        ("source/32", ["2001:db8:1:1::", "2001:db8:1:1:ffff::", "2001:db8:1:1::7", "2001:db8:1:2::"]),
        ("source/56", ["2001:db8:3:100::", "2001:db8:3:1ff::1", "2001:db8:3:180::", "2001:db8:3:200::"]),
        ("source/56", ["198.18.7.7", "198.18.7.7", "198.18.7.7", "198.18.7.6"]),
        ("source/20,100", ["198.18.0.1", "198.18.15.255", "198.18.8.0", "198.18.16.0"]),
        ("source/20,100", ["2001:db8::1", "2001:db8::fff:ffff", "2001:db8::800:0", "2001:db8::1000:0"]),
    ] {
        let (same, other) = all(from, addresses);
        follow(&mut bench, &format!("limit 1/s burst 2 per {key_text}\n"), None, &key(same, other))
            .with_context(|| format!("{addresses:?}"))?;
    }
    Ok(())
}

pub fn each_destination_has_its_own() -> Result<()> {
    let sandbox = Sandbox::enter("limits_destination")?;
    let mut bench = Bench::new(&sandbox)?;
    for [one, other, a, b] in [
        ["198.51.100.1", "198.51.100.2", "192.0.2.1", "203.0.113.1"],
        ["2001:db8::1", "2001:db8::2", "2001:db8:7::1", "2001:db8:8::1"],
    ] {
        let address = |text: &str| text.parse().expect("an address");
        let same = [a, b, a, b].map(|source| between(address(source), address(one))).to_vec();
        follow(
            &mut bench,
            "limit 1/s burst 2 per destination\n",
            None,
            &key(same, between(address(a), address(other))),
        )?;
    }
    Ok(())
}

pub fn each_service_has_its_own_and_what_has_no_ports_one_together() -> Result<()> {
    let sandbox = Sandbox::enter("limits_service")?;
    let mut bench = Bench::new(&sandbox)?;
    for family in FAMILIES {
        let pick = |[four, six]: [Frame; 2]| if family == Family::V4 { four } else { six };
        let udp = |source: u16, port: u16| pick(both(|ip| ip.udp(source, port)));
        let mut steps = key(vec![udp(1, 53), udp(2, 53), udp(3, 53)], udp(1, 54));
        steps.push((pick(both(|ip| ip.tcp(1, 53, 2))), false));
        let elsewhere = if family == Family::V4 { to("198.51.100.77") } else { to("2001:db8::77") };
        steps.push((elsewhere, false));
        let message = |kind| {
            if family == Family::V4 { v4().icmp(kind, 0).build() } else { v6().icmpv6(kind, 0).build() }
        };
        steps.extend(key(vec![message(3), message(8), message(8)], pick(both(Builder::gre))));
        steps.push((udp(9, 53), true));
        follow(&mut bench, "limit 1/s burst 2 per service\n", None, &steps)?;
    }
    Ok(())
}

pub fn a_total_is_one_for_everything_that_the_rule_matches() -> Result<()> {
    let sandbox = Sandbox::enter("limits_total")?;
    let mut bench = Bench::new(&sandbox)?;
    let [udp4, udp6] = super::frames::udp();
    let steps = [
        (udp4.clone(), false),
        (arp(), false),
        (udp6.clone(), false),
        (arp(), true),
        (udp4, true),
        (udp6, true),
    ];
    follow(&mut bench, "limit 1/s burst 3 per total\n", None, &steps)
}

pub fn a_limit_by_address_is_not_about_frames_without_ip() -> Result<()> {
    let sandbox = Sandbox::enter("limits_no_ip")?;
    let mut bench = Bench::new(&sandbox)?;
    for key in ["source", "destination", "service"] {
        let steps: Vec<Step> = (0..6).map(|_| (arp(), false)).collect();
        follow(&mut bench, &format!("limit 1/s burst 1 per {key}\n"), None, &steps)?;
    }
    Ok(())
}

pub fn bits_are_those_of_whole_frames() -> Result<()> {
    let sandbox = Sandbox::enter("limits_bits")?;
    let mut bench = Bench::new(&sandbox)?;
    // 2,000 bits with Ethernet header, tags and all; 480 bits.
    let large = |family: Family| {
        let [four, six] =
            [v4().udp(1, 2).payload(&[0; 208]), v6().udp(1, 2).payload(&[0; 188])].map(|frame| frame.build());
        if family == Family::V4 { four } else { six }
    };
    let small = |family: Family| match family {
        Family::V4 => v4().udp(1, 2).build().pad_to(62),
        Family::V6 => v6().udp(1, 2).build(),
    };
    for family in FAMILIES {
        let (large, small) = (large(family), small(family));
        ensure!(large.len() == 250 && small.len() == 62, "{} and {} bytes", large.len(), small.len());
        // 4,000 of 5,000 bits; then one of 496 fits twice.
        let mut steps = vec![(large.clone(), false), (large.clone(), false), (large.clone(), true)];
        steps.extend([
            (small.clone(), false),
            (small.clone(), false),
            (small.clone(), true),
            (large.clone(), true),
        ]);
        follow(&mut bench, "limit 1kbit/s burst 5kbit per source\n", None, &steps)?;
        let tags = Frame::raw(tagged(&large, &[(0x8100, 5), (0x8100, 6)]));
        // 6,192 of 6,100 bits with the tags, 6,000 without.
        let steps: Vec<Step> = [false, false, true].map(|is_over| (tags.clone(), is_over)).to_vec();
        follow(&mut bench, "limit 1kbit/s burst 6100bit per source\n", None, &steps)?;
    }
    Ok(())
}

pub fn within_a_limit_the_walk_goes_on_and_over_it_it_ends() -> Result<()> {
    let sandbox = Sandbox::enter("limits_walk")?;
    let mut bench = Bench::new(&sandbox)?;
    let frame = |family| if family == Family::V4 { from("192.0.2.9") } else { from("2001:db8::9") };
    for family in FAMILIES {
        let steps = [false, false, true, true].map(|is_over| (frame(family), is_over));
        for (behind, reason) in [("drop", Reason::RuleDrop), ("pass", Reason::RulePass)] {
            follow(&mut bench, &format!("limit 1/s burst 2 per source\n{behind}\n"), Some(reason), &steps)?;
            // The same limit keeps its buckets: until they are full again.
            std::thread::sleep(Duration::from_millis(2100));
        }
    }
    Ok(())
}

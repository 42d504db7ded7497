//! Counters exact to the packet and to the byte, and nothing of a blocked source in the stack.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use filter_common::verdict::Reason;
use filter_user::api::types::Count;
use harness::{Flood, Levee, Order, SourcePattern, StackCounter, Template, VethOptions, VethPair};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, counted, lines, stats};

const SOURCES: u32 = 1000;

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

/// Blocked and other sources of both families by turns, UDP and SYN.
fn shapes(field: &Field) -> Vec<Template> {
    let (hit_v4, hit_v6) = blocked();
    let miss_v4 = SourcePattern::miss_v4(SOURCES, Order::Sequential);
    let miss_v6 = SourcePattern::miss_v6(SOURCES, Order::Sequential);
    let other = field.pair.a.mac;
    vec![
        Template { frame: field.udp(BLOCKED_MAC, V4), sources: hit_v4 },
        Template { frame: field.udp(other, V4), sources: miss_v4 },
        Template { frame: field.syn(BLOCKED_MAC, V6), sources: hit_v6 },
        Template { frame: field.udp(other, V6), sources: miss_v6 },
        Template { frame: field.syn(BLOCKED_MAC, V4), sources: hit_v4 },
    ]
}

fn blocked() -> (SourcePattern, SourcePattern) {
    (SourcePattern::hit_v4(SOURCES, Order::Sequential), SourcePattern::hit_v6(SOURCES, Order::Sequential))
}

fn block(field: &Field, levee: &Levee) -> Result<()> {
    let (v4, v6) = blocked();
    let list = field.file("flood.txt", lines(v4.addresses().chain(v6.addresses())))?;
    levee.ok(&["set", "import", "flood", &list])?;
    Ok(())
}

fn exact(name: &str, mode: &str, count: u64) -> Result<()> {
    let field = Field::new(name)?;
    let levee = field.attached(mode)?;
    block(&field, &levee)?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let shapes = shapes(&field);
    let lengths: Vec<u64> = shapes.iter().map(|shape| shape.frame.len() as u64).collect();
    let report = Flood::of(shapes, count)?.run(&field.attacker, INTERFACE)?;
    ensure!(report.sent == count && report.lost == 0, "not every frame arrived: {report:?}");
    let [a, b, c, d, e] = report.by_template[..] else { anyhow::bail!("five shapes: {report:?}") };
    let dropped = Count { packets: a + c + e, bytes: a * lengths[0] + c * lengths[2] + e * lengths[4] };
    let passed = Count { packets: b + d, bytes: b * lengths[1] + d * lengths[3] };

    let traffic = counted(&levee, INTERFACE, count)?;
    ensure!(traffic.rx.bytes == dropped.bytes + passed.bytes, "{traffic:?}");
    ensure!(traffic.drop == dropped && traffic.pass == passed, "{traffic:?}, not {dropped:?} and {passed:?}");
    for reason in Reason::ALL {
        let expected = match reason {
            Reason::BlockedSource => dropped,
            Reason::NoMatch => passed,
            _ => Count::default(),
        };
        ensure!(
            traffic.of(*reason) == expected,
            "{}: {:?}, not {expected:?}",
            reason.name(),
            traffic.of(*reason)
        );
    }
    ensure!(stats(&levee)?.total == traffic, "the total is that of the one interface");
    let (watched, others) = (stack.watched()?, stack.others()?);
    ensure!(watched.packets == 0, "{} packets of blocked sources reached the stack", watched.packets);
    ensure!(others.packets == passed.packets, "{} of {} packets passed", others.packets, passed.packets);
    Ok(())
}

pub fn a_million_packets_are_counted_exactly_in_native_mode() -> Result<()> {
    exact("a_million_packets_native", "native", 1_000_000)
}

pub fn a_hundred_thousand_packets_are_counted_exactly_in_generic_mode() -> Result<()> {
    exact("packets_generic", "generic", 100_000)
}

pub fn the_json_of_stats_has_the_documented_shape_and_adds_up() -> Result<()> {
    let field = Field::new("the_json_of_stats")?;
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "11.0.0.0/8"])?;
    let mut socket = field.raw()?;
    socket.send(&field.udp(BLOCKED_MAC, [11, 1, 2, 3].into()))?;
    socket.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    counted(&levee, INTERFACE, 2)?;
    let json = levee.json(&["stats"])?;
    ensure!(json["schema"] == 1, "{json}");
    for part in [&json["interfaces"][0], &json["total"]] {
        let packets = |what: &str| part[what]["packets"].as_u64();
        for (what, expected) in [("rx", 2), ("pass", 1), ("drop", 1), ("tx", 0), ("redirect", 0)] {
            ensure!(packets(what) == Some(expected), "{what} in {part}");
            ensure!(part[what]["bytes"] == expected * 60, "{what} in {part}");
        }
        let reasons = part["reasons"].as_object().map(serde_json::Map::len);
        ensure!(reasons == Some(Reason::ALL.len()), "{part}");
        ensure!(part["reasons"]["blocked_source"]["packets"] == 1, "{part}");
    }
    let interface = &json["interfaces"][0];
    ensure!(interface["name"] == INTERFACE && interface["mode"] == "native", "{interface}");
    ensure!(interface["program_id"].is_u64() && interface["generation"] == 1, "{interface}");
    let text = levee.ok(&["stats"])?;
    ensure!(text.contains("blocked_source") && text.contains("120 B"), "{text}");
    Ok(())
}

pub fn two_interfaces_share_the_tables_and_count_apart() -> Result<()> {
    let field = Field::new("two_interfaces")?;
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&field.attacker, "eth1", &field.victim, "eth1", &options)?;
    let levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, "eth1"])?;
    block(&field, &levee)?;
    let (hits, misses) = (blocked().0, SourcePattern::miss_v4(SOURCES, Order::Sequential));
    let frame = field.udp(BLOCKED_MAC, V4);
    for (interface, count, sources) in [
        (INTERFACE, 30_000, hits),
        ("eth1", 20_000, hits),
        (INTERFACE, 1_000, misses),
        ("eth1", 2_000, misses),
    ] {
        let report = Flood::new(&frame, sources, count)?.run(&field.attacker, interface)?;
        ensure!(report.delivered() == count, "{report:?}");
    }
    for (interface, dropped, passed) in [(INTERFACE, 30_000, 1_000), ("eth1", 20_000, 2_000)] {
        let traffic = counted(&levee, interface, dropped + passed)?;
        ensure!(
            (traffic.drop.packets, traffic.pass.packets) == (dropped, passed),
            "{interface}: {traffic:?}"
        );
        ensure!(traffic.of(Reason::BlockedSource).packets == dropped, "{interface}: {traffic:?}");
    }
    let total = stats(&levee)?.total;
    ensure!((total.rx.packets, total.drop.packets) == (53_000, 50_000), "{total:?}");
    levee.ok(&["detach", "eth1"])?;
    let left = stats(&levee)?;
    ensure!(left.interfaces.len() == 1 && left.total.drop.packets == 30_000, "{left:?}");
    levee.ok(&["set", "rm", "flood"])?;
    let report = Flood::new(&frame, hits, 500)?.run(&field.attacker, INTERFACE)?;
    ensure!(report.delivered() == 500);
    let traffic = counted(&levee, INTERFACE, 31_500)?;
    ensure!(traffic.pass.packets == 1_500, "nothing is blocked any more: {traffic:?}");
    Ok(())
}

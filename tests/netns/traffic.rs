//! Real traffic through an attached interface: what passes whole, and what a blocked source cannot get past.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use filter_user::api::types::Count;
use harness::packet::{Builder, tcp_flag};
use harness::{Frame, StackCounter, VethOptions};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, VICTIM_V4, counted, stats, wait_until};

const SOURCE_V4: [u8; 4] = [203, 0, 113, 9];
const SOURCE_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A blocked source in one frame shape, and the same shape with another source.
fn tagged(field: &Field, tags: &[(u16, u16)]) -> [Frame; 2] {
    let inside = |builder: Builder, v6: bool| {
        let builder = tags.iter().fold(builder, |builder, (kind, id)| builder.tag(*kind, *id));
        if v6 {
            builder.ipv6(SOURCE_V6, [0xfd; 16]).tcp(1, 80, tcp_flag::SYN).build()
        } else {
            builder.ipv4(SOURCE_V4, VICTIM_V4).udp(1, 53).payload(&[0; 18]).build()
        }
    };
    [false, true].map(|v6| inside(Frame::eth(BLOCKED_MAC, field.pair.b.mac), v6))
}

fn tags(mode: &str) -> Result<()> {
    let field = Field::new("tags")?;
    let levee = field.attached(mode)?;
    levee.ok(&["block", "add", "203.0.113.0/24", "2001:db8::/32"])?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let mut socket = field.raw()?;
    let mut expected = Count::default();
    for tags in [
        &[][..],
        &[(0x8100, 7)],
        &[(0x88a8, 7)],
        &[(0x88a8, 100), (0x8100, 7)],
        &[(0x8100, 100), (0x8100, 7)],
        &[(0x8100, 100), (0x88a8, 7)],
        &[(0x88a8, 1), (0x88a8, 2), (0x8100, 3), (0x8100, 4)],
        // Priority tags.
        &[(0x8100, 0)],
    ] {
        for frame in tagged(&field, tags) {
            socket.send(&frame)?;
            expected = Count { packets: expected.packets + 1, bytes: expected.bytes + frame.len() as u64 };
            let traffic = counted(&levee, INTERFACE, expected.packets)?;
            ensure!(traffic.of(Reason::BlockedSource) == expected, "{mode}, tags {tags:x?}: {traffic:?}");
        }
    }
    ensure!(stack.watched()?.packets == 0);
    levee.ok(&["block", "del", "203.0.113.0/24"])?;
    for frame in tagged(&field, &[(0x88a8, 100), (0x8100, 7)]) {
        socket.send(&frame)?;
    }
    let traffic = counted(&levee, INTERFACE, expected.packets + 2)?;
    ensure!(traffic.pass.packets == 1, "{mode}: only what is no longer blocked passes: {traffic:?}");
    Ok(())
}

pub fn tagged_frames_of_a_blocked_source_are_dropped_in_native_mode() -> Result<()> {
    tags("native")
}

pub fn tagged_frames_of_a_blocked_source_are_dropped_in_generic_mode() -> Result<()> {
    tags("generic")
}

fn jumbo(mode: &str) -> Result<()> {
    const PAYLOAD: usize = 8000;
    const LENGTH: u64 = 14 + 20 + 8 + PAYLOAD as u64;
    let field = Field::with("jumbo", &VethOptions { mtu: 9000, ..VethOptions::default() })?;
    field.attacker.run("ip", &["address", "add", "192.0.2.66/24", "dev", INTERFACE])?;
    let levee = field.attached(mode)?;
    levee.ok(&["block", "add", "192.0.2.66"])?;
    let neighbour = ["neighbour", "add", "192.0.2.66", "lladdr", "02:00:00:00:00:0a", "dev", INTERFACE];
    field.victim.run("ip", &neighbour)?;
    let server = field.victim.in_ns(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4433)))?;
    server.set_read_timeout(Some(Duration::from_secs(30)))?;
    let payload: Vec<u8> = (0..251_u8).cycle().take(PAYLOAD).collect();
    let send = |source: Ipv4Addr| -> Result<()> {
        let socket = field.attacker.in_ns(|| UdpSocket::bind((source, 0)))?;
        ensure!(socket.send_to(&payload, (Ipv4Addr::from(VICTIM_V4), 4433))? == PAYLOAD);
        Ok(())
    };
    send(Ipv4Addr::new(192, 0, 2, 66))?;
    send(Ipv4Addr::new(192, 0, 2, 1))?;
    let mut received = vec![0; PAYLOAD * 2];
    let (length, from) = server.recv_from(&mut received).context("no jumbo datagram came through")?;
    ensure!(from.ip() == Ipv4Addr::new(192, 0, 2, 1), "{from} is blocked");
    ensure!(received[..length] == payload, "{length} bytes came, not what was sent");
    let traffic = counted(&levee, INTERFACE, 2)?;
    let one = Count { packets: 1, bytes: LENGTH };
    ensure!(traffic.of(Reason::BlockedSource) == one && traffic.drop == one, "{mode}: {traffic:?}");
    ensure!(traffic.pass == one, "{mode}: {traffic:?}");
    Ok(())
}

pub fn jumbo_datagrams_pass_whole_and_are_dropped_whole_in_native_mode() -> Result<()> {
    jumbo("native")
}

pub fn jumbo_datagrams_pass_whole_and_are_dropped_whole_in_generic_mode() -> Result<()> {
    jumbo("generic")
}

const TRANSFER: usize = 20 << 20;

fn tcp(mode: &str, victim: &str, attacker: &str) -> Result<()> {
    let field = Field::new("tcp")?;
    let levee = field.attached(mode)?;
    levee.ok(&["block", "add", "203.0.113.0/24", "2001:db8::/32"])?;
    let address: SocketAddr = victim.parse()?;
    let listener = field.victim.in_ns(|| TcpListener::bind(address))?;
    let mut sent = vec![0; TRANSFER];
    StdRng::seed_from_u64(3).fill_bytes(&mut sent);
    std::thread::scope(|scope| -> Result<()> {
        // Both ways at once: the victim sends back all that it receives.
        let server = scope.spawn(|| -> Result<()> {
            let (mut stream, peer) = listener.accept()?;
            ensure!(peer.ip().to_string() == attacker, "{peer}");
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            std::io::copy(&mut stream.try_clone()?, &mut stream)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            Ok(())
        });
        let mut stream = field
            .attacker
            .in_ns(|| TcpStream::connect_timeout(&address, Duration::from_secs(30)))
            .context("no connection")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut writer = stream.try_clone()?;
        let sending = scope.spawn({
            let sent = &sent;
            move || writer.write_all(sent).and_then(|()| writer.shutdown(std::net::Shutdown::Write))
        });
        let mut received = Vec::with_capacity(TRANSFER);
        stream.read_to_end(&mut received)?;
        ensure!(received == sent, "{} of {TRANSFER} bytes came back", received.len());
        sending.join().expect("no panic")?;
        server.join().expect("no panic")
    })?;
    let total = stats(&levee)?.total;
    ensure!(total.drop.packets == 0 && total.pass.bytes > TRANSFER as u64, "{mode}: {total:?}");
    Ok(())
}

pub fn a_tcp_transfer_with_offloads_passes_whole_in_native_mode() -> Result<()> {
    tcp("native", "192.0.2.2:443", "192.0.2.1")?;
    tcp("native", "[fd00::2]:443", "fd00::1")
}

pub fn a_tcp_transfer_with_offloads_passes_whole_in_generic_mode() -> Result<()> {
    tcp("generic", "192.0.2.2:443", "192.0.2.1")
}

pub fn allowing_a_source_or_destination_saves_it_from_the_block_list() -> Result<()> {
    let field = Field::new("allowing")?;
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "203.0.113.0/24", "2001:db8::/32"])?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let mut socket = field.raw()?;
    let (mut sent, mut passed) = (0, 0);
    let mut check = |what: &str, expected: [bool; 2]| -> Result<()> {
        for (frame, passes) in tagged(&field, &[]).iter().zip(expected) {
            socket.send(frame)?;
            sent += 1;
            passed += u64::from(passes);
            let traffic = counted(&levee, INTERFACE, sent)?;
            ensure!(traffic.pass.packets == passed, "{what}: {traffic:?}, not {passed} passed");
        }
        wait_until(what, || Ok(stack.watched()?.packets == passed))
    };
    check("both are blocked", [false, false])?;
    levee.ok(&["allow", "add", "203.0.113.9"])?;
    check("the IPv4 source is allowed", [true, false])?;
    levee.ok(&["allow", "add", "2001:db8::/64"])?;
    check("the IPv6 source is allowed", [true, true])?;
    let said = levee.cmd(&["block", "test", "203.0.113.9"])?;
    ensure!(said.code == Some(1) && said.stdout.contains("allowed by 203.0.113.9/32"), "{said:?}");
    levee.ok(&["allow", "del", "203.0.113.9", "2001:db8::/64"])?;
    check("no source is allowed any more", [false, false])?;
    levee.ok(&["allow", "add", "--destination", "192.0.2.0/24"])?;
    check("the IPv4 destination is allowed", [true, false])?;
    levee.ok(&["allow", "add", "--destination", "fdfd:fdfd::/32"])?;
    check("the IPv6 destination is allowed", [true, true])?;
    levee.ok(&["set", "flush", "allow-dst"])?;
    check("no destination is allowed any more", [false, false])
}

pub fn an_entry_passes_again_when_its_time_is_over() -> Result<()> {
    let field = Field::new("ttl")?;
    let levee = field.attached("native")?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let mut socket = field.raw()?;
    let frame = field.udp(BLOCKED_MAC, SOURCE_V4.into());
    levee.ok(&["block", "add", "203.0.113.0/24", "--ttl", "1h"])?;
    levee.ok(&["block", "add", "203.0.113.9", "--ttl", "2s"])?;
    let test = |prefix: &str| -> Result<String> { Ok(levee.cmd(&["block", "test", prefix])?.stdout) };
    ensure!(test("203.0.113.9")?.contains("blocked by"), "{}", test("203.0.113.9")?);
    wait_until("the narrower entry is over", || Ok(test("203.0.113.9")?.contains("203.0.113.0/24")))?;
    socket.send(&frame)?;
    ensure!(counted(&levee, INTERFACE, 1)?.drop.packets == 1, "the wider entry goes on");
    // A new end replaces the old.
    let said = levee.ok(&["block", "add", "203.0.113.0/24", "--ttl", "1s"])?;
    ensure!(said.contains("renewed"), "{said}");
    wait_until("the wider entry is over", || Ok(test("203.0.113.9")?.contains("not blocked")))?;
    socket.send(&frame)?;
    ensure!(counted(&levee, INTERFACE, 2)?.pass.packets == 1);
    wait_until("the packet is in the stack", || Ok(stack.watched()?.packets == 1))?;
    ensure!(levee.ok(&["block", "list"])?.contains("no entries"));
    // What ends while no daemon is there, ends when one comes.
    levee.ok(&["block", "add", "203.0.113.9", "--ttl", "1s"])?;
    levee.kill9()?;
    std::thread::sleep(Duration::from_secs(2));
    let levee = field.levee()?;
    ensure!(levee.cmd(&["block", "test", "203.0.113.9"])?.code == Some(1), "it is over");
    Ok(())
}

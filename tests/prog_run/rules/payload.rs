//! Matches on bytes of the payload.

use anyhow::Result;
use harness::Frame;
use harness::packet::Builder;

use super::case::{case, check};
use super::frames::{arp, both, later_fragments, v4, v6};

/// A UDP packet in each family with this payload.
fn udp(bytes: &[u8]) -> [Frame; 2] {
    both(|ip| ip.udp(1, 2).payload(bytes))
}

/// The bytes behind so many others.
fn behind(count: usize, bytes: &[u8]) -> Vec<u8> {
    [&vec![0x55; count], bytes].concat()
}

pub fn bytes_count_from_behind_the_transport_header() -> Result<()> {
    let get = b"GET /wp-login.php";
    let tcp = |ip: Builder| ip.tcp(1, 80, 0x18);
    let mut later = later_fragments(17);
    later.push(v4().fragment(64, false).protocol(6).payload(get).build());
    check(
        "rules_payload_start",
        |_| {},
        &[
            case("payload at 0", "\"GET /wp-login\"")
                .hits(udp(get))
                .hits(both(|ip| tcp(ip).payload(get)))
                // Options move the payload.
                .hits(both(|ip| tcp(ip).options(&[1; 20]).payload(get)))
                .hits([v4().options(&[1; 12]).udp(1, 2).payload(get).build()])
                .hits([v6().hop_by_hop().routing().udp(1, 2).payload(get).build()])
                .hits(both(|ip| ip.protocol(253).payload(get)))
                .hits([v4()
                    .fragment(0, true)
                    .udp(1, 2)
                    .payload(&behind(0, b"GET /wp-login--------"))
                    .build()])
                .misses(udp(b"GET /wp-logim"))
                .misses(udp(&behind(1, get)))
                .misses(both(|ip| tcp(ip).options(&[0x47; 4]).payload(b"POST /wp-login")))
                .absent(udp(b"GET /wp-logi"))
                .absent(later)
                .absent(udp(b""))
                .absent([arp()]),
            // The first bytes behind the IP headers are what other protocols begin with.
            case("payload at 0", "0x0800")
                .hits([v4().icmp(8, 0).build()])
                .misses([v4().icmp(0, 0).build(), v6().icmpv6(128, 0).build()])
                .absent(udp(b"")),
        ],
    )
}

pub fn up_to_sixteen_bytes_are_compared_within_their_mask() -> Result<()> {
    let sixteen: Vec<u8> = (0..16).collect();
    let changed = |at: usize, bit: u8| {
        let mut bytes = sixteen.clone();
        bytes[at] ^= bit;
        bytes
    };
    let all = "0x000102030405060708090a0b0c0d0e0f";
    check(
        "rules_payload_mask",
        |_| {},
        &[
            case("payload at 0", all)
                .hits(udp(&sixteen))
                .misses((0..16).flat_map(|at| udp(&changed(at, 1 << (at % 8)))))
                .absent(udp(&sixteen[..15])),
            case("payload at 0", "0x00010203040506070809/0xffffffffffffffffffff")
                .hits(udp(&sixteen[..10]))
                .hits(udp(&changed(10, 0xff)))
                .misses(udp(&changed(9, 0x80)))
                .misses(udp(&changed(8, 0x01)))
                .absent(udp(&sixteen[..9])),
            case("payload at 0", "0x0001000000000000000000000000000f/0xff0f00000000000000000000000000ff")
                .hits(udp(&sixteen))
                .hits(udp(&changed(1, 0x80)))
                .hits(udp(&changed(7, 0xff)))
                .hits(udp(&changed(14, 0xff)))
                .misses(udp(&changed(1, 0x01)))
                .misses(udp(&changed(15, 0x10)))
                // Bytes that the mask does not look at must be there.
                .absent(udp(&sixteen[..14])),
            case("payload at 3", "0x80/0x80")
                .hits(udp(&changed(3, 0x80)))
                .hits(udp(&[1, 2, 3, 0xff]))
                .misses(udp(&sixteen))
                .absent(udp(&[0xff; 3])),
            case("payload at 7", "0x0708")
                .hits(udp(&sixteen))
                .hits(udp(&sixteen[..9]))
                .misses(udp(&changed(8, 4)))
                .absent(udp(&sixteen[..8])),
        ],
    )
}

pub fn bytes_at_the_very_end_are_there_and_one_past_it_are_not() -> Result<()> {
    let end = [0xde, 0xad, 0xbe, 0xef];
    // What follows the packet in its frame is no part of it.
    let trailing = |frame: Frame| Frame::raw([frame.bytes(), &[0xef; 40]].concat());
    check(
        "rules_payload_end",
        |_| {},
        &[
            case("payload at 255", "0xdeadbeef")
                .hits(udp(&behind(255, &end)))
                .hits(udp(&behind(255, &end)).map(trailing))
                .hits(udp(&behind(255, &[0xde, 0xad, 0xbe, 0xef, 0])))
                .misses(udp(&behind(254, &[0xde, 0xad, 0xbe, 0xef, 0])))
                .absent(udp(&behind(255, &end[..3])))
                .absent(udp(&behind(255, &end[..3])).map(trailing))
                .absent(udp(&behind(255, b""))),
            case("payload at 255", "0xdeadbeefdeadbeefdeadbeefdeadbeef")
                .hits(udp(&behind(255, &end.repeat(4))))
                .misses(udp(&behind(256, &end.repeat(4))))
                .absent(udp(&behind(255, &end.repeat(4)[..15]))),
            case("payload at 4", "0xef")
                .hits(udp(&[0, 0, 0, 0, 0xef]))
                .misses(udp(&[0, 0, 0, 0, 0xee]))
                .absent(udp(&[0xef; 4]))
                .absent(udp(&[0xef; 4]).map(trailing)),
            case("payload at 0", "0xef")
                .hits(udp(&[0xef]))
                .misses(udp(&[0xfe]))
                .absent(udp(b"").map(trailing)),
        ],
    )
}

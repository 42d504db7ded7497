//! Packets that no Ethernet carries: several segments that a card or the kernel joined before the capture saw them (GRO, LRO), or
//! has yet to cut (TSO).
//!
//! Decides what the filter is asked instead: about the first of the segments, [`SEGMENT`] bytes long, with lengths in its headers
//! that fit. The filter sees packets before they are joined, so that is what one of them is like; how many they were, nothing tells.

/// Bytes of a frame of the length that Ethernet has without agreement on more.
const SEGMENT: usize = 1514;
const VLANS: [u16; 2] = [0x8100, 0x88a8];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;

/// Makes a frame, of which this was captured, its first segment; says how long it is then.
pub fn cut(frame: &mut Vec<u8>) -> usize {
    frame.truncate(SEGMENT);
    let mut network = 14;
    let mut kind = read(frame, 12);
    while kind.is_some_and(|kind| VLANS.contains(&kind)) {
        kind = read(frame, network + 2);
        network += 4;
    }
    let whole = SEGMENT - network;
    match kind {
        Some(IPV4) => {
            write(frame, network + 2, whole);
            let header = frame.get(network).map_or(0, |first| usize::from(first & 15) * 4);
            if frame.get(network + 9) == Some(&UDP) && header <= whole {
                write(frame, network + header + 4, whole - header);
            }
        }
        Some(IPV6) => {
            write(frame, network + 4, whole - 40);
            if frame.get(network + 6) == Some(&UDP) {
                write(frame, network + 44, whole - 40);
            }
        }
        _ => {}
    }
    SEGMENT
}

fn read(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

/// Where it was captured.
fn write(frame: &mut [u8], at: usize, number: usize) {
    if let (Some(bytes), Ok(number)) = (frame.get_mut(at..at + 2), u16::try_from(number)) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_joined_packet_becomes_a_segment_whose_headers_agree() {
        let eth = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let payload = [0; 20_000];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for tags in 0..2 {
            for version in [4, 6] {
                for udp in [false, true] {
                    let mut bytes = Vec::new();
                    macro_rules! built {
                        ($ip:expr) => {
                            if udp {
                                $ip.udp(1, 2).write(&mut bytes, &payload).unwrap();
                            } else {
                                $ip.tcp(1, 2, 3, 4).write(&mut bytes, &payload).unwrap();
                            }
                        };
                    }
                    match (tags, version) {
                        (0, 4) => built!(eth().ipv4([1; 4], [2; 4], 64)),
                        (0, _) => built!(eth().ipv6([1; 16], [2; 16], 64)),
                        (_, 4) => built!(eth().single_vlan(7.try_into().unwrap()).ipv4([1; 4], [2; 4], 64)),
                        _ => built!(eth().single_vlan(7.try_into().unwrap()).ipv6([1; 16], [2; 16], 64)),
                    }
                    frames.push(bytes);
                }
            }
        }
        assert_eq!(frames.len(), 8);
        for mut frame in frames {
            assert_eq!(cut(&mut frame), SEGMENT);
            assert_eq!(frame.len(), SEGMENT);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let rest = match packet.transport {
                Some(TransportSlice::Udp(udp)) => udp.payload().len() + 8,
                Some(TransportSlice::Tcp(tcp)) => tcp.payload().len() + 20,
                other => panic!("{other:?}"),
            };
            let ip = packet.net.unwrap();
            let header = if ip.is_ipv4() { 20 } else { 40 };
            let tags = packet.link_exts.len() * 4;
            assert_eq!(14 + tags + header + rest, SEGMENT);
        }
    }

    #[test]
    fn of_what_was_captured_in_part_only_that_part_is_changed() {
        for length in 0..60 {
            let mut frame = vec![0x45; length];
            if length >= 14 {
                frame[12..14].copy_from_slice(&[8, 0]);
            }
            assert_eq!(cut(&mut frame), SEGMENT);
            assert_eq!(frame.len(), length);
        }
    }
}

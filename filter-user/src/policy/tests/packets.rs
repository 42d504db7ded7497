//! What rules mean, packet by packet: a plain reading of the language, against which warnings are tested.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::arbitrary::any_prefix;
use super::*;

/// A packet, as far as rules see it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub interface: InterfaceName,
    pub source_mac: MacAddress,
    pub destination_mac: MacAddress,
    pub ether_type: u16,
    pub vlan: Option<u16>,
    pub ip: Option<Ip>,
    /// Whether each end is in the set `monitoring`, and in the set `a`.
    pub in_sets: [[bool; 2]; 2],
}

#[derive(Clone, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub fragment: u8,
    pub length: u16,
    pub ttl: u8,
    pub dscp: u8,
    pub extensions: u8,
    /// Ports, flags, ICMP's type and code: where a header has them.
    pub words: (u16, u16, u8, u8),
    pub payload: Vec<u8>,
    /// Whether what it answers was not sent; of what can answer something.
    pub unasked: Option<bool>,
    /// Whether no socket takes it; of what a socket can take.
    pub unclaimed: Option<bool>,
}

impl Ip {
    pub fn has_head(&self) -> bool {
        self.fragment != FragmentStates::LATER
    }

    pub fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }
}

/// Any packet, with values that rules often name.
pub fn any_packet() -> impl Strategy<Value = Packet> {
    let interface = select(vec!["eth0", "eth1", "not"]).prop_map(|name| InterfaceName::new(name).unwrap());
    let mac = || select(vec![MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([9; 6])]);
    let outer =
        (interface, mac(), mac(), select(vec![0x0806, 6, 17, 0xffff]), proptest::option::of(number(4095)));
    (outer, proptest::option::weighted(0.9, any_ip()), any::<[[bool; 2]; 2]>()).prop_map(
        |(outer, ip, in_sets)| {
            let (interface, source_mac, destination_mac, other_type, vlan) = outer;
            let ether_type = match &ip {
                Some(ip) if ip.is_v4() => 0x0800,
                Some(_) => 0x86dd,
                None => other_type,
            };
            Packet { interface, source_mac, destination_mac, ether_type, vlan, ip, in_sets }
        },
    )
}

fn number(most: u16) -> impl Strategy<Value = u16> {
    select(vec![0, 1, 5, 6, 17, 53, 58, 60, 1000]).prop_map(move |number: u16| number.min(most))
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![select(vec![0_u8, 1, 2, 5, 6, 17, 53, 58, 0x12]), any::<u8>()]
}

fn any_ip() -> impl Strategy<Value = Ip> {
    let fragment =
        select(vec![FragmentStates::NO, FragmentStates::NO, FragmentStates::FIRST, FragmentStates::LATER]);
    let ends = (any_prefix(), any_prefix()).prop_map(|(source, destination)| {
        let (source, destination) = (source.addr(), destination.addr());
        (source, if source.is_ipv4() == destination.is_ipv4() { destination } else { source })
    });
    let payload = proptest::collection::vec(select(vec![0x11_u8, 0x22, 0xff]), 0..20);
    let words = (number(u16::MAX), number(u16::MAX), byte(), byte());
    let payload = (payload, any::<[Option<bool>; 2]>());
    let header = (byte(), fragment, number(u16::MAX), byte(), 0..64_u8, byte());
    (ends, header, words, payload).prop_map(|(ends, header, words, (payload, [unasked, unclaimed]))| {
        let (protocol, fragment, more, ttl, dscp, extensions) = header;
        let is_v4 = ends.0.is_ipv4();
        let l4 = match protocol {
            _ if fragment == FragmentStates::LATER => 0,
            6 => 20,
            17 => 8,
            _ => 0,
        };
        let least = if is_v4 { 20 } else { 40 } + l4 + u16::try_from(payload.len()).unwrap();
        let extensions = if is_v4 { 0 } else { extensions };
        let length = least.saturating_add(more);
        Ip {
            source: ends.0,
            destination: ends.1,
            protocol,
            fragment,
            length,
            ttl,
            dscp,
            extensions,
            words,
            payload,
            unasked: unasked.filter(|_| matches!(protocol, 1 | 6 | 17 | 58)),
            unclaimed: unclaimed.filter(|_| matches!(protocol, 6 | 17) && fragment != FragmentStates::LATER),
        }
    })
}

/// Whether the rule matches the packet. Chance goes as `luck` has it.
pub fn matches(rule: &Rule, packet: &Packet, luck: bool) -> bool {
    let needs_ip = match &rule.action {
        Action::Ban(_) => true,
        Action::Limit(limit) => limit.per != Per::Total,
        _ => false,
    };
    (!needs_ip || packet.ip.is_some())
        && rule.matches.iter().all(|condition| {
            // A field that is not there makes a condition and its negation fail.
            holds(&condition.value, packet, luck != condition.negated)
                .is_some_and(|held| held != condition.negated)
        })
}

/// Whether the test holds; `None` where the packet does not have the field.
fn holds(test: &Test, packet: &Packet, luck: bool) -> Option<bool> {
    let ip = packet.ip.as_ref();
    let ports = || ip.filter(|ip| ip.has_head() && matches!(ip.protocol, 6 | 17));
    let icmp = || ip.filter(|ip| ip.has_head() && ip.is_v4() && ip.protocol == 1);
    let icmpv6 = || ip.filter(|ip| ip.has_head() && !ip.is_v4() && ip.protocol == 58);
    Some(match test {
        Test::Interface(list) => list.contains(&packet.interface),
        Test::EtherSource(list) => list.contains(&packet.source_mac),
        Test::EtherDestination(list) => list.contains(&packet.destination_mac),
        Test::EtherType(ranges) => ranges.contains(packet.ether_type),
        Test::Vlan(ranges) => ranges.contains(packet.vlan?),
        Test::Source(addresses) => within(addresses, ip?.source, packet.in_sets[0])?,
        Test::Destination(addresses) => within(addresses, ip?.destination, packet.in_sets[1])?,
        Test::Protocol(ranges) => ranges.contains(ip?.protocol),
        Test::SourcePort(ranges) => ranges.contains(ports()?.words.0),
        Test::DestinationPort(ranges) => ranges.contains(ports()?.words.1),
        Test::TcpFlags(flags) => flags.holds(ports().filter(|ip| ip.protocol == 6)?.words.2),
        Test::IcmpType(ranges) => ranges.contains(icmp()?.words.2),
        Test::IcmpCode(ranges) => ranges.contains(icmp()?.words.3),
        Test::Icmpv6Type(ranges) => ranges.contains(icmpv6()?.words.2),
        Test::Icmpv6Code(ranges) => ranges.contains(icmpv6()?.words.3),
        Test::Length(ranges) => ranges.contains(ip?.length),
        Test::Ttl(ranges) => ranges.contains(ip?.ttl),
        Test::Dscp(ranges) => ranges.contains(ip?.dscp),
        Test::Fragment(states) => states.bits() & ip?.fragment != 0,
        Test::ExtensionHeader(headers) => headers.bits() & ip.filter(|ip| !ip.is_v4())?.extensions != 0,
        Test::Unasked => ip?.unasked?,
        Test::Unclaimed => ip?.unclaimed?,
        Test::Payload(payload) => {
            let ip = ip.filter(|ip| ip.has_head())?;
            let bytes = ip.payload.get(usize::from(payload.offset())..payload.end())?;
            bytes
                .iter()
                .zip(payload.mask())
                .zip(payload.value())
                .all(|((byte, mask), value)| byte & mask == *value)
        }
        Test::Probability(ratio) => ratio.is_one() || (!ratio.is_zero() && luck),
    })
}

/// A list of prefixes is about the families that it has; a set is about both.
fn within(addresses: &Addresses, address: IpAddr, in_sets: [bool; 2]) -> Option<bool> {
    match addresses {
        Addresses::Set(name) => Some(in_sets[usize::from(name.as_str() == "a")]),
        Addresses::Prefixes(list) => {
            let same_family = |prefix: &&IpNet| prefix.addr().is_ipv4() == address.is_ipv4();
            let mut list = list.iter().filter(same_family).peekable();
            list.peek()?;
            Some(list.any(|prefix| prefix.contains(&address)))
        }
    }
}

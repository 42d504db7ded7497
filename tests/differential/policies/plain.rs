//! What a policy means, packet by packet: a plain reading of the language, rule after rule, apart from the classifier, the
//! limiter and the parser.
//!
//! Time stands still: a bucket takes what its burst says, and nothing more.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::verdict::Reason;
use filter_user::policy::{
    Action, Addresses, FragmentStates, Limit, Mode, Per, Policy, Rate, Rule, Test, Verdict,
};
use harness::Names;
use harness::contract;
use harness::filter::INTERFACE;
use ipnet::IpNet;

use super::packets::{Ip, Packet};

/// What has a limit of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Prefix(IpNet),
    Destination(IpAddr),
    Service(IpAddr, u8, u16),
    Total,
}

/// A policy, what names in it stand for, what lists hold, and what it has seen.
pub struct Plain<'a> {
    policy: &'a Policy,
    names: &'a Names,
    lists: &'a contract::Policy,
    sockets: &'a Sockets,
    owed: HashMap<(usize, Key), u64>,
    banned: HashSet<IpAddr>,
}

impl<'a> Plain<'a> {
    /// That has seen nothing yet.
    pub fn new(
        policy: &'a Policy,
        names: &'a Names,
        lists: &'a contract::Policy,
        sockets: &'a Sockets,
    ) -> Self {
        Self { policy, names, lists, sockets, owed: HashMap::new(), banned: HashSet::new() }
    }

    /// How a packet ends, and the rules that count it.
    pub fn meet(&mut self, packet: &Packet) -> (Reason, Vec<u32>) {
        if let Some(ip) = &packet.ip {
            let holds = |list: &[IpNet], address: IpAddr| list.iter().any(|prefix| prefix.contains(&address));
            if holds(&self.lists.allow_source, ip.source) {
                return (Reason::AllowedSource, Vec::new());
            }
            if holds(&self.lists.allow_destination, ip.destination) {
                return (Reason::AllowedDestination, Vec::new());
            }
            if holds(&self.lists.block, ip.source) {
                return (Reason::BlockedSource, Vec::new());
            }
            if self.banned.contains(&ip.source) {
                return (Reason::BannedSource, Vec::new());
            }
        }
        let mut counted = Vec::new();
        let policy = self.policy;
        for (place, rule) in policy.rules.iter().enumerate() {
            if !self.matches(rule, packet) {
                continue;
            }
            let reason = match &rule.action {
                Action::Drop => Some(Reason::RuleDrop),
                Action::Pass => Some(Reason::RulePass),
                Action::Redirect(_) => Some(Reason::RuleRedirect),
                Action::Ban(_) => Some(Reason::RuleBan),
                Action::Count => None,
                Action::Sample(part) => {
                    assert!(part.is_one(), "nothing is left to chance");
                    None
                }
                Action::Limit(limit) if self.is_over(place, limit, packet) => Some(Reason::OverLimit),
                Action::Limit(_) | Action::Defend(_) => continue,
            };
            counted.push(u32::try_from(place).expect("few"));
            let Some(reason) = reason.filter(|_| rule.mode == Mode::Enforce) else { continue };
            if let (Reason::RuleBan, Some(ip)) = (reason, &packet.ip) {
                self.banned.insert(ip.source);
            }
            return (reason, counted);
        }
        (self.undecided(packet), counted)
    }

    fn undecided(&self, packet: &Packet) -> Reason {
        let Some(ip) = &packet.ip else { return Reason::NonIp };
        let is_discovery = |ip: &Ip| {
            let (whole, kind) = (ip.fragment == FragmentStates::NO, ip.message.map(|message| message.0));
            ip.source.is_ipv6()
                && whole
                && ip.ttl == 255
                && kind.is_some_and(|kind| (133..=137).contains(&kind))
        };
        if ip.fragment == FragmentStates::LATER && self.policy.fragments == Verdict::Drop {
            Reason::Fragment
        } else if self.policy.default == Verdict::Drop && !is_discovery(ip) {
            Reason::DefaultDrop
        } else {
            Reason::NoMatch
        }
    }

    fn matches(&self, rule: &Rule, packet: &Packet) -> bool {
        let needs_ip = match &rule.action {
            Action::Ban(_) => true,
            Action::Limit(limit) => limit.per != Per::Total,
            _ => false,
        };
        (!needs_ip || packet.ip.is_some())
            && rule.matches.iter().all(|condition| {
                // What is not there fulfils neither a condition nor its negation.
                self.holds(&condition.value, packet).is_some_and(|held| held != condition.negated)
            })
    }

    /// Whether the test holds; `None` where the packet does not have the field.
    fn holds(&self, test: &Test, packet: &Packet) -> Option<bool> {
        let ip = packet.ip.as_ref();
        let message = |is_v4: bool| ip.filter(|ip| ip.source.is_ipv4() == is_v4)?.message;
        Some(match test {
            Test::Interface(list) => list.iter().any(|name| name.as_str() == INTERFACE),
            Test::EtherSource(list) => list.contains(&packet.source_mac),
            Test::EtherDestination(list) => list.contains(&packet.destination_mac),
            Test::EtherType(ranges) => ranges.contains(packet.ether_type),
            Test::Vlan(ranges) => ranges.contains(packet.vlan?),
            Test::Source(addresses) => self.within(addresses, ip?.source)?,
            Test::Destination(addresses) => self.within(addresses, ip?.destination)?,
            Test::Protocol(ranges) => ranges.contains(ip?.protocol),
            Test::SourcePort(ranges) => ranges.contains(ip?.ports?.0),
            Test::DestinationPort(ranges) => ranges.contains(ip?.ports?.1),
            Test::TcpFlags(flags) => ip?.flags? & flags.mask() == flags.value(),
            Test::IcmpType(ranges) => ranges.contains(message(true)?.0),
            Test::IcmpCode(ranges) => ranges.contains(message(true)?.1),
            Test::Icmpv6Type(ranges) => ranges.contains(message(false)?.0),
            Test::Icmpv6Code(ranges) => ranges.contains(message(false)?.1),
            Test::Length(ranges) => ranges.contains(ip?.length),
            Test::Ttl(ranges) => ranges.contains(ip?.ttl),
            Test::Dscp(ranges) => ranges.contains(ip?.dscp),
            Test::Fragment(states) => states.bits() & ip?.fragment != 0,
            Test::ExtensionHeader(headers) => {
                headers.bits() & ip.filter(|ip| ip.source.is_ipv6())?.extensions != 0
            }
            Test::Unasked => answers(packet).then_some(true)?,
            Test::Unclaimed => !self.sockets.take(ip?)?,
            Test::Payload(payload) => {
                let bytes = ip?.payload.as_ref()?.get(usize::from(payload.offset())..payload.end())?;
                let mut masked = bytes.iter().zip(payload.mask()).map(|(byte, mask)| byte & mask);
                payload.value().iter().all(|value| masked.next() == Some(*value))
            }
            Test::Probability(part) => {
                assert!(part.is_one() || part.is_zero(), "nothing is left to chance");
                part.is_one()
            }
        })
    }

    /// A list of prefixes is about the families that it has; a set is about both.
    fn within(&self, addresses: &Addresses, address: IpAddr) -> Option<bool> {
        match addresses {
            Addresses::Set(name) => {
                let members = self.names.sets.get(name.as_str());
                Some(members.is_some_and(|members| members.iter().any(|prefix| prefix.contains(&address))))
            }
            Addresses::Prefixes(list) => {
                let family: Vec<&IpNet> =
                    list.iter().filter(|prefix| prefix.addr().is_ipv4() == address.is_ipv4()).collect();
                (!family.is_empty()).then(|| family.iter().any(|prefix| prefix.contains(&address)))
            }
        }
    }

    fn is_over(&mut self, place: usize, limit: &Limit, packet: &Packet) -> bool {
        let cost = match limit.rate {
            Rate::Packets(_) | Rate::PacketsAMinute(_) => 1,
            Rate::Bits(_) => packet.frame.len() as u64 * 8,
        };
        let key = key(limit.per, packet.ip.as_ref());
        let owed = self.owed.entry((place, key)).or_default();
        if *owed + cost > limit.burst {
            return true;
        }
        *owed += cost;
        false
    }
}

/// The sockets of a host: one of UDP that is bound, and one of TCP that listens, at these ports of all its addresses.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Addresses of the host.
    pub own: Vec<IpAddr>,
    pub udp: u16,
    pub tcp: u16,
}

impl Sockets {
    /// Whether one of them takes a packet; `None` where that is no question of it. There are no connections, and no cookies.
    pub fn take(&self, ip: &Ip) -> Option<bool> {
        const SYN: u8 = 0x02;
        const OPENING: u8 = 0x16;
        let (_, port) = ip.ports.filter(|_| self.own.contains(&ip.destination))?;
        Some(match ip.flags {
            None => port == self.udp,
            Some(flags) => port == self.tcp && flags & OPENING == SYN,
        })
    }
}

/// Whether a packet can answer something. Nothing was sent, so then it is unasked. Errors here quote nothing that is IP.
fn answers(packet: &Packet) -> bool {
    const SYN_ACK: u8 = 0x12;
    const RST: u8 = 0x04;
    let Some(ip) = packet.ip.as_ref().filter(|_| packet.destination_mac.0[0] & 1 == 0) else { return false };
    match ip.protocol {
        17 => true,
        6 => ip.flags.is_some_and(|flags| flags & RST != 0 || flags & SYN_ACK == SYN_ACK),
        _ => ip.message.is_some_and(|(kind, _)| kind == if ip.source.is_ipv4() { 0 } else { 129 }),
    }
}

fn key(per: Per, ip: Option<&Ip>) -> Key {
    let Some(ip) = ip.filter(|_| per != Per::Total) else { return Key::Total };
    match per {
        Per::Source { v4, v6 } => Key::Prefix(match ip.source {
            IpAddr::V4(address) => {
                let bits = address.to_bits() & u32::MAX << (32 - v4);
                IpNet::new(Ipv4Addr::from_bits(bits).into(), v4).expect("at most 32")
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits() & u128::MAX << (128 - v6);
                IpNet::new(Ipv6Addr::from_bits(bits).into(), v6).expect("at most 128")
            }
        }),
        Per::Destination => Key::Destination(ip.destination),
        Per::Service => Key::Service(ip.destination, ip.protocol, ip.ports.map_or(0, |ports| ports.1)),
        Per::Total => Key::Total,
    }
}

//! Where one filter stands: a veth pair from an attacker's namespace into a victim's, and what can be counted there.
//!
//! Decides what becomes of a packet that passes, the same for every filter: it is addressed to the victim's MAC but to
//! an IP address that is neither local nor routed, so IPv4 receives it, looks up the route, counts it (`InAddrErrors`)
//! and frees it; IPv6 does the same (`Ip6InNoRoutes`). No socket and no answer is involved, and nf_tables' and iptables'
//! hooks have been passed by then. Packets to [`PROBE_V4`] are the exception: a socket may wait for them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use harness::packet::{Builder, Family};
use harness::{Frame, Netns, Sandbox, VethOptions, VethPair};

/// The victim's and the attacker's interface, each in its own namespace.
pub const INTERFACE: &str = "eth0";
/// The one IPv4 address that the victim has.
pub const PROBE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The one that it has of IPv6, where both families are asked for.
pub const PROBE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, 1);
/// What packets that pass are addressed to: nobody has it.
pub const VICTIM_V4: [u8; 4] = [198, 51, 100, 1];
const VICTIM_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// One filter's veth pair.
#[derive(Debug)]
pub struct Lane {
    /// Where the flood comes from.
    pub attacker: Netns,
    /// Where the filter is.
    pub victim: Netns,
    pair: VethPair,
}

/// Counters of the victim that no filter owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Frames that the victim's driver took from its ring.
    pub driver: u64,
    /// Packets that got through to the route look-up.
    pub stack: u64,
}

impl Lane {
    /// Makes it for packets of IPv4, or of both families; `name` is unique in the sandbox.
    pub fn new(sandbox: &Sandbox, name: &str, family: Family) -> Result<Self> {
        let attacker = Netns::new(sandbox, &format!("attacker-{name}"))?;
        let victim = Netns::new(sandbox, &format!("victim-{name}"))?;
        // A namespace may inherit the host's settings; a router would answer each packet with an ICMP error.
        for setting in ["ip_forward", "conf/all/rp_filter", "conf/default/rp_filter", "conf/all/log_martians"]
        {
            victim.sysctl(&format!("net/ipv4/{setting}"), "0")?;
        }
        let mut addresses = vec![format!("{PROBE_V4}/32").parse()?];
        if family == Family::V6 {
            // Without any address the kernel would take no IPv6 packet as far as ip6tables' hooks.
            addresses.push(format!("{PROBE_V6}/128").parse()?);
        }
        // Each core that floods has a queue of its own.
        let queues = u32::try_from(crate::machine::cores())?.min(2);
        let options = VethOptions { queues, addresses_b: addresses, ..VethOptions::default() };
        let pair = VethPair::new(&attacker, INTERFACE, &victim, INTERFACE, &options)?;
        Ok(Self { attacker, victim, pair })
    }

    /// A frame to the victim, as far as its MAC addresses.
    pub fn to_victim(&self) -> Builder {
        Frame::eth(self.pair.a.mac, self.pair.b.mac)
    }

    /// A frame that the victim sends, as far.
    pub fn by_victim(&self) -> Builder {
        Frame::eth(self.pair.b.mac, self.pair.a.mac)
    }

    /// The flood's frame: UDP, 60 bytes without the frame check sequence (64 on the wire).
    fn frame_v4(&self) -> Frame {
        self.to_victim().ipv4([0; 4], VICTIM_V4).udp(53, 4433).payload(&[0; 18]).build()
    }

    /// The same over IPv6: 62 bytes, which is the least with a UDP header.
    fn frame_v6(&self) -> Frame {
        self.to_victim().ipv6([0; 16], VICTIM_V6).udp(53, 4433).build()
    }

    /// The flood's frame of that family.
    pub fn frame(&self, family: Family) -> Frame {
        match family {
            Family::V4 => self.frame_v4(),
            Family::V6 => self.frame_v6(),
        }
    }

    /// A frame from `source` that a socket of the victim can wait for.
    pub fn probe(&self, source: Ipv4Addr, port: u16) -> Frame {
        self.to_victim().ipv4(source.octets(), PROBE_V4.octets()).udp(53, port).payload(&[0; 18]).build()
    }

    /// The victim's counters as they are now.
    pub fn seen(&self) -> Result<Seen> {
        let driver = self.victim.read_interface(INTERFACE, "statistics/rx_packets")?;
        // Not /proc/net, which shows the namespace of the process's first thread.
        let read = |file: &str| {
            let path = format!("/proc/thread-self/net/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (snmp, netstat, snmp6) =
            self.victim.in_ns(|| -> Result<_> { Ok((read("snmp")?, read("netstat")?, read("snmp6")?)) })?;
        let stack = counter(&snmp, "Ip:", "InAddrErrors")?
            + counter(&netstat, "IpExt:", "InNoRoutes")?
            + counter_v6(&snmp6, "Ip6InNoRoutes")?
            + counter_v6(&snmp6, "Ip6InAddrErrors")?;
        Ok(Seen { driver, stack })
    }
}

/// A counter of `/proc/net/snmp` and its like: a line of names, then a line of values, both begun by `group`.
fn counter(text: &str, group: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let what = || format!("the kernel shows no counter {group} {name}");
    let (names, values) = (lines.next().with_context(what)?, lines.next().with_context(what)?);
    let position = names.split_whitespace().position(|other| other == name).with_context(what)?;
    let value = values.split_whitespace().nth(position).with_context(what)?;
    value.parse().with_context(|| format!("{group} {name} is {value:?}, not a number"))
}

/// A counter of `/proc/net/snmp6`: a name and a value a line.
fn counter_v6(text: &str, name: &str) -> Result<u64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t'])));
    let value = line.with_context(|| format!("the kernel shows no counter {name}"))?.trim();
    value.parse().with_context(|| format!("{name} is {value:?}, not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_the_name_above_it() {
        let text = "Ip: Forwarding InAddrErrors\nIp: 2 17\nUdp: InAddrErrors\nUdp: 5\n";
        assert_eq!(counter(text, "Ip:", "InAddrErrors").ok(), Some(17));
        assert!(counter(text, "Ip:", "Absent").is_err());
    }
}

//! The names that numbers of the field go by, each table read by parser, printer and error messages alike.
//!
//! Numbers are IANA's; names are those of nftables where it has one. Ports have no names: what a machine's
//! `/etc/services` says must not change what a policy means.

/// Names of one kind of number.
#[derive(Debug)]
pub(super) struct Names {
    /// Name and number. Of several names of a number the first is the one that Levee prints.
    list: &'static [(&'static str, u16)],
}

impl Names {
    /// The number of that name.
    pub(super) fn number(&self, name: &str) -> Option<u16> {
        self.list.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// The name of that number.
    pub(super) fn name(&self, number: u16) -> Option<&'static str> {
        self.list.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }

    /// Every name.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.list.iter().map(|(name, _)| *name)
    }
}

/// The name of an EtherType.
#[must_use]
pub fn ether_type(number: u16) -> Option<&'static str> {
    ETHER_TYPES.name(number)
}

/// The name of an IP protocol.
#[must_use]
pub fn protocol(number: u8) -> Option<&'static str> {
    PROTOCOLS.name(number.into())
}

/// The number of an IP protocol.
#[must_use]
pub fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.number(name).and_then(|number| u8::try_from(number).ok())
}

/// Names of IP protocols.
pub fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.all()
}

/// The bit of a TCP flag.
#[must_use]
pub fn tcp_flag(name: &str) -> Option<u8> {
    TCP_FLAGS.number(name).and_then(|bit| u8::try_from(bit).ok())
}

/// The names of the TCP flags that are set, as rules write them.
#[must_use]
pub fn tcp_flags(byte: u8) -> String {
    let set = TCP_FLAGS.list.iter().filter(|(_, bit)| u16::from(byte) & bit != 0).map(|(name, _)| *name);
    let set: Vec<&str> = set.collect();
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

/// EtherTypes.
pub(super) static ETHER_TYPES: Names = Names {
    list: &[
        ("ip", 0x0800),
        ("ipv4", 0x0800),
        ("ip6", 0x86dd),
        ("ipv6", 0x86dd),
        ("arp", 0x0806),
        ("lacp", 0x8809),
        ("mpls", 0x8847),
        ("pppoe", 0x8864),
        ("eapol", 0x888e),
        ("lldp", 0x88cc),
        ("ptp", 0x88f7),
    ],
};

/// IP protocols. `ah` is met in IPv4 alone: in IPv6 it is an extension header, and the protocol is what follows it.
pub(super) static PROTOCOLS: Names = Names {
    list: &[
        ("icmp", 1),
        ("igmp", 2),
        ("ipip", 4),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("ip6ip", 41),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmpv6", 58),
        ("ospf", 89),
        ("pim", 103),
        ("vrrp", 112),
        ("l2tp", 115),
        ("sctp", 132),
        ("udplite", 136),
    ],
};

/// Types of ICMP.
pub(super) static ICMP_TYPES: Names = Names {
    list: &[
        ("echo-reply", 0),
        ("destination-unreachable", 3),
        ("source-quench", 4),
        ("redirect", 5),
        ("echo-request", 8),
        ("router-advertisement", 9),
        ("router-solicitation", 10),
        ("time-exceeded", 11),
        ("parameter-problem", 12),
        ("timestamp-request", 13),
        ("timestamp-reply", 14),
        ("info-request", 15),
        ("info-reply", 16),
        ("address-mask-request", 17),
        ("address-mask-reply", 18),
    ],
};

/// Types of ICMPv6.
pub(super) static ICMPV6_TYPES: Names = Names {
    list: &[
        ("destination-unreachable", 1),
        ("packet-too-big", 2),
        ("time-exceeded", 3),
        ("parameter-problem", 4),
        ("echo-request", 128),
        ("echo-reply", 129),
        ("mld-listener-query", 130),
        ("mld-listener-report", 131),
        ("mld-listener-done", 132),
        ("nd-router-solicit", 133),
        ("nd-router-advert", 134),
        ("nd-neighbor-solicit", 135),
        ("nd-neighbor-advert", 136),
        ("nd-redirect", 137),
        ("router-renumbering", 138),
        ("ind-neighbor-solicit", 141),
        ("ind-neighbor-advert", 142),
        ("mld2-listener-report", 143),
    ],
};

/// Differentiated services code points (RFC 2474, 2597, 3246, 5865, 8622).
pub(super) static DSCP: Names = Names {
    list: &[
        ("cs0", 0),
        ("le", 1),
        ("cs1", 8),
        ("af11", 10),
        ("af12", 12),
        ("af13", 14),
        ("cs2", 16),
        ("af21", 18),
        ("af22", 20),
        ("af23", 22),
        ("cs3", 24),
        ("af31", 26),
        ("af32", 28),
        ("af33", 30),
        ("cs4", 32),
        ("af41", 34),
        ("af42", 36),
        ("af43", 38),
        ("cs5", 40),
        ("va", 44),
        ("ef", 46),
        ("cs6", 48),
        ("cs7", 56),
    ],
};

/// Bits of the TCP flag byte, and of all of them.
pub(super) static TCP_FLAGS: Names = Names {
    list: &[
        ("fin", 0x01),
        ("syn", 0x02),
        ("rst", 0x04),
        ("psh", 0x08),
        ("ack", 0x10),
        ("urg", 0x20),
        ("ece", 0x40),
        ("cwr", 0x80),
    ],
};

/// IPv6 extension headers, a bit each.
pub(super) static EXTENSION_HEADERS: Names = Names {
    list: &[
        ("hop-by-hop", 0x01),
        ("hbh", 0x01),
        ("routing", 0x02),
        ("rt", 0x02),
        ("fragment", 0x04),
        ("frag", 0x04),
        ("destination", 0x08),
        ("dst", 0x08),
        ("ah", 0x10),
        ("mobility", 0x20),
        ("mh", 0x20),
        ("hip", 0x40),
        ("shim6", 0x80),
    ],
};

/// Fragment states, a bit each, and the two that are fragments.
pub(super) static FRAGMENTS: Names =
    Names { list: &[("no", 0x01), ("first", 0x02), ("later", 0x04), ("any", 0x06)] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words_that_appear_once() {
        for names in [
            &ETHER_TYPES,
            &PROTOCOLS,
            &ICMP_TYPES,
            &ICMPV6_TYPES,
            &DSCP,
            &TCP_FLAGS,
            &EXTENSION_HEADERS,
            &FRAGMENTS,
        ] {
            for (name, number) in names.list {
                assert!(
                    name.bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                );
                assert_eq!(names.number(name), Some(*number), "{name} has another number, too");
                assert!(names.name(*number).is_some());
            }
        }
    }
}

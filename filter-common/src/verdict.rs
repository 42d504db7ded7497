//! Every way a packet's walk can end: one table of reasons that counters, metrics, documents and messages read.
//!
//! A packet ends with exactly one [`Reason`], and each reason belongs to exactly one [`Verdict`]; so the packets an
//! interface received are the sum over its reasons, with no remainder to explain.
//!
//! Numbers are part of the ABI: they index the counter array. Append, never renumber; a change needs a new
//! [`crate::abi::ABI_VERSION`].

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Handed to the kernel's network stack.
    Pass,
    /// Dropped in the driver, before the kernel allocates anything for it.
    Drop,
    /// Sent out of another interface.
    Redirect,
    /// Answered by the program, out of the interface that it came in by; the stack does not see it.
    Tx,
}

impl Verdict {
    /// The name used in JSON, metrics and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Redirect => "redirect",
            Self::Tx => "tx",
        }
    }
}

/// The stage of the pipeline that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Structure of the frame: Ethernet, VLAN tags, IP, extension headers, L4.
    Parse,
    /// Allowed sources and destinations.
    Allow,
    /// Well-formed but impossible packets, by policy switch.
    Sanity,
    /// Blocked sources.
    Block,
    /// The rules of the policy.
    Rules,
    /// The SYN defence that a rule asks for.
    Syn,
    /// The end of the walk: nothing objected.
    End,
}

impl Stage {
    /// The name used in JSON, metrics and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Allow => "allow",
            Self::Sanity => "sanity",
            Self::Block => "block",
            Self::Rules => "rules",
            Self::Syn => "syn",
            Self::End => "end",
        }
    }
}

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $stage:ident $verdict:ident $meaning:literal;)*) => {
        /// Why a packet got its verdict. The number indexes the counter array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in JSON, metrics and text; stable across versions.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// The stage that decides with this reason.
            #[must_use]
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* }
            }

            /// The verdict that this reason stands for.
            #[inline(always)]
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)* }
            }
        }
    };
}

reasons! {
    0  InternalError      "internal_error"      End    Pass "an error of Levee's own; the packet passes and the error is alarmed";
    1  NoMatch            "no_match"            End    Pass "no stage objected";
    2  NonIp              "non_ip"              Parse  Pass "ARP or another frame that carries no IP";
    3  AllowedSource      "allowed_source"      Allow  Pass "the source is in an allow list";
    4  AllowedDestination "allowed_destination" Allow  Pass "the destination is in an allow list";
    5  MalformedEth       "malformed_eth"       Parse  Drop "the frame is shorter than its Ethernet or VLAN header";
    6  VlanDepth          "vlan_depth"          Parse  Drop "more than four VLAN tags";
    7  MalformedIp        "malformed_ip"        Parse  Drop "an IP header or extension header that contradicts itself or the frame";
    8  ExtDepth           "ext_depth"           Parse  Drop "more than eight IPv6 extension headers";
    9  TinyFragment       "tiny_fragment"       Parse  Drop "a first fragment without its whole L4 header, or a TCP fragment at offset 1 (RFC 1858)";
    10 MalformedL4        "malformed_l4"        Parse  Drop "a TCP or UDP header that contradicts itself or the packet";
    11 BadTcpFlags        "bad_tcp_flags"       Sanity Drop "a combination of TCP flags that no stack sends";
    12 BogonSource        "bogon_source"        Sanity Drop "a source that is multicast, broadcast, loopback or the packet's own destination";
    13 BlockedSource      "blocked_source"      Block  Drop "the source is in a block list";
    14 Fragment           "fragment"            Sanity Drop "a later fragment, where the policy drops fragments";
    15 BannedSource       "banned_source"       Block  Drop "a rule has banned the source for some time";
    16 RulePass           "rule_pass"           Rules  Pass "a rule passes it";
    17 RuleDrop           "rule_drop"           Rules  Drop "a rule drops it";
    18 OverLimit          "over_limit"          Rules  Drop "it is over the limit of a rule";
    19 RuleBan            "rule_ban"            Rules  Drop "a rule drops it and bans its source";
    20 RuleRedirect       "rule_redirect"       Rules  Redirect "a rule sends it out of another interface";
    21 DefaultDrop        "default_drop"        End    Drop "no rule decided, and the policy drops what none decides about";
    22 SynCookie          "syn_cookie"          Syn   Tx   "a SYN to a defended service, answered with the kernel's SYN cookie";
    23 SynChallenge       "syn_challenge"       Syn   Tx   "a SYN to a defended service from an unknown source, which is asked whether it is there";
    24 SynAnswer          "syn_answer"          Syn   Drop "a reset that answers a challenge; its source is let through for a while";
    25 SynLimit           "syn_limit"           Syn   Drop "a SYN over the limit of a defended service";
    26 SynUnanswerable    "syn_unanswerable"    Syn   Drop "a SYN to a defended service that cannot be answered: a fragment, IPv4 options or IPv6 extension headers";
}

impl Reason {
    /// The reason of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::REASON_SLOTS;

    #[test]
    fn reasons_are_numbered_without_gaps_and_fit_the_counter_array() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.name());
        }
        assert!(Reason::ALL.len() <= REASON_SLOTS);
    }

    #[test]
    fn reason_names_are_unique() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(*reason));
        }
    }
}

//! The rules of the policy, and what becomes of packets that none of them decides about.
//!
//! Decides how the end of a walk along the rules ([`classifier`](crate::policy::classifier)) is a reason, and what the
//! policy's default spares: frames without IP and IPv6 neighbour discovery on the link, without which nothing on an
//! Ethernet would be reachable. Costs nothing where there are no rules, no bans and no default but to pass.

use crate::parse::{Fragment, Headers, PacketRead, protocol};
use crate::policy::classifier::{Outcome, OutcomeKind};
use crate::policy::observed::{Family, family};
use crate::verdict::Reason;

/// Hop limit of neighbour discovery that no router has forwarded (RFC 4861).
const ON_LINK: u32 = 255;
/// Types of neighbour discovery: from router solicitation to redirect.
const DISCOVERY: core::ops::RangeInclusive<u16> = 133..=137;

/// The rules of a generation, where they lie.
pub trait Rules<P: PacketRead> {
    /// Where what was noted of a packet lies until the walk.
    type Noted: Copy;
    /// Whether there are any.
    fn are_on(&self) -> bool;
    /// Whether packets are dropped that nothing decides about.
    fn default_drops(&self) -> bool;
    /// Whether a rule has banned the source, and the time of that is not over.
    fn is_banned<A: Family>(&self, source: A) -> bool;
    /// A packet passes before rules are asked.
    fn passes<A: Family>(&self, packet: &P, headers: &Headers<A>);
    /// Of a packet of which nothing was noted.
    fn nothing(&self) -> Self::Noted;
    /// Takes note of what rules may ask of a frame without IP.
    fn observe_frame(&self, packet: &P) -> Self::Noted;
    /// Takes note of what rules may ask of an IP packet, or begins the walk with it: rules may count here. So whoever
    /// asks for this leaves the packet to [`Self::walk`].
    fn observe<A: Family>(&self, packet: &P, headers: &Headers<A>) -> Self::Noted;
    /// Walks along the rules with what was noted.
    fn walk(&self, packet: &P, noted: Self::Noted) -> Outcome;
}

/// No policy.
#[derive(Clone, Copy, Debug)]
pub struct NoRules;

impl<P: PacketRead> Rules<P> for NoRules {
    type Noted = ();

    fn are_on(&self) -> bool {
        false
    }

    fn default_drops(&self) -> bool {
        false
    }

    fn is_banned<A: Family>(&self, _: A) -> bool {
        false
    }

    fn passes<A: Family>(&self, _: &P, _: &Headers<A>) {}

    fn nothing(&self) {}

    fn observe_frame(&self, _: &P) {}

    fn observe<A: Family>(&self, _: &P, _: &Headers<A>) {}

    fn walk(&self, _: &P, (): ()) -> Outcome {
        Outcome::NONE
    }
}

/// The reason that a walk ended with; `None` where no rule decided.
#[inline(always)]
#[must_use]
pub const fn ended(kind: OutcomeKind) -> Option<Reason> {
    match kind {
        OutcomeKind::None => None,
        OutcomeKind::Pass => Some(Reason::RulePass),
        OutcomeKind::Drop => Some(Reason::RuleDrop),
        OutcomeKind::Limit => Some(Reason::OverLimit),
        OutcomeKind::Ban => Some(Reason::RuleBan),
        OutcomeKind::Redirect => Some(Reason::RuleRedirect),
        OutcomeKind::Cookie => Some(Reason::SynCookie),
        OutcomeKind::Challenge => Some(Reason::SynChallenge),
        OutcomeKind::Answer => Some(Reason::SynAnswer),
        OutcomeKind::SynLimit => Some(Reason::SynLimit),
        OutcomeKind::Unanswerable => Some(Reason::SynUnanswerable),
    }
}

/// What becomes of an IP packet that nothing decides about, where that is to drop it.
#[inline(always)]
pub fn default_drop<P: PacketRead, A: Family>(packet: &P, headers: &Headers<A>) -> Reason {
    if is_discovery(packet, headers) { Reason::NoMatch } else { Reason::DefaultDrop }
}

/// IPv6 neighbour discovery from the link.
#[inline(always)]
fn is_discovery<P: PacketRead, A: Family>(packet: &P, headers: &Headers<A>) -> bool {
    if A::NUMBER != family::V6 || headers.protocol != protocol::ICMPV6 || headers.fragment != Fragment::None {
        return false;
    }
    let hops = A::fixed(packet, headers.layers.network as usize).map_or(0, |fixed| fixed.ttl);
    let message: Option<u16> = packet.read(headers.layers.transport as usize);
    hops == ON_LINK && message.is_some_and(|message| DISCOVERY.contains(&(message >> 8)))
}

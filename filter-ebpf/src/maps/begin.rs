//! How the walk begins of IPv4 packets, where rules are simple ([`filter_common::policy::classifier::simple`]) and the classes
//! of addresses are found in intervals: a global function that is handed the headers in registers finds which rules a
//! packet may match, and does what the first of them says.
//!
//! With up to 64 rules it keeps what it finds in registers, where a walk that goes on keeps all in an element of a map: of
//! that it wants but the clock, for a rule that counts. There is another function for more rules, as a compiler that has
//! both before it keeps neither's numbers in registers. Costs the classifier's lines, then what the rule does.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use filter_common::keys::AddressV4;
use filter_common::parse::{Headers, PacketRead as _};
use filter_common::policy::classifier::field::{ABSENT, Field, address_v4};
use filter_common::policy::classifier::geometry::IntervalTable;
use filter_common::policy::classifier::intervals;
use filter_common::policy::classifier::simple::{self, Begun, Counts};
use filter_common::policy::facts::SeenFacts;
use filter_common::policy::handed::Handed;
use filter_common::policy::observed::Family;
use filter_common::policy::scratch::{CoarseClock, Scratch};
use filter_common::policy::seen::Seen;
use filter_common::table::RULE_LINES;
use filter_common::table::lines::Lines;

use super::lines::{geometry, in_lines};
use super::policy::{count_rule, found, interface, makes_bare_cookies, rules, scratch};
use crate::packet::XdpPacket;
use crate::twin;

/// Whether the walk of IPv4 packets begins here.
#[inline(always)]
pub(super) fn is_on() -> bool {
    rules().is_simple() && rules().has_intervals() && !makes_bare_cookies()
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $name:ident: ($($constant:literal),*) $calls:ident;)*) => {$(
        $(#[doc = $doc])+
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(ctx: *mut xdp_md, addresses: u64, ports: u64, layers: u64) -> u64 {
            $calls::<$($constant),*>(&XdpContext::new(ctx), Handed { addresses, ports, layers })
        }
    )*};
}

functions! {
    /// Begins with up to 64 rules.
    few_simple: (false) few;
    /// The same for frames in several buffers.
    few_simple_frags: (true) few;
    /// Begins with more rules.
    many_simple: (false) many;
    /// The same for frames in several buffers.
    many_simple_frags: (true) many;
}

/// Begins the walk of an IPv4 packet. Where it has not ended by what this says, this CPU's element has it.
#[inline(always)]
pub(super) fn begin<const FRAGS: bool, A: Family>(
    ctx: &XdpContext,
    packet: &XdpPacket<'_, FRAGS>,
    headers: &Headers<A>,
) -> Begun {
    let Handed { addresses, ports, layers } = Handed::of(headers, packet.frame_length());
    let ctx = ctx.as_ptr().cast();
    Begun::from_number(match (rules().words == 1, FRAGS) {
        (true, false) => few_simple(ctx, addresses, ports, layers),
        (true, true) => few_simple_frags(ctx, addresses, ports, layers),
        (false, false) => many_simple(ctx, addresses, ports, layers),
        (false, true) => many_simple_frags(ctx, addresses, ports, layers),
    })
}

/// Where there is no map, there is no rule: see [`in_lines`].
const _: () = assert!(Begun::OVER.number() == 0);

/// What is done with an IPv4 packet's facts and the lines that rules are found in.
macro_rules! with_facts {
    ($frags:ident, $ctx:ident, $handed:ident, |$lines:ident, $facts:ident| $do:expr) => {{
        let packet = XdpPacket::<$frags>::of_length($ctx, $handed.frame_length());
        // First, as nothing stays in registers where a frame in several buffers is read.
        let Some(seen) = Seen::of_handed(&packet, $handed, rules().used) else {
            return Begun::OVER.number();
        };
        in_lines!(up to RULE_LINES + geometry().policy_lines, |$lines| {
            let $facts = facts(&$lines, &packet, $handed, seen);
            $do
        })
    }};
}

#[inline(always)]
fn few<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    let bytes = bytes(handed);
    with_facts!(FRAGS, ctx, handed, |lines, facts| {
        let mut counts = KernelCounts { bytes, clock: None };
        let (begun, left) = simple::begin_few(&lines, rules(), &facts, &mut counts);
        if begun.is(Begun::NEXT) {
            let Some(Scratch { observed, walk, .. }) = found(scratch()) else { return Begun::OVER.number() };
            observed.bytes = bytes;
            walk.go_on_with(left);
        }
        begun.number()
    })
}

#[inline(always)]
fn many<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    let bytes = bytes(handed);
    with_facts!(FRAGS, ctx, handed, |lines, facts| {
        let Some(Scratch { observed, walk, clock, .. }) = found(scratch()) else {
            return Begun::OVER.number();
        };
        observed.bytes = bytes;
        let mut counts = KernelCounts { bytes, clock: Some(clock) };
        simple::begin(&lines, rules(), &facts, &mut counts, walk).number()
    })
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
const fn bytes(handed: Handed) -> u32 {
    handed.frame_length() as u32
}

#[inline(always)]
fn facts<'a, const FRAGS: bool, L: Lines>(
    lines: &'a L,
    packet: &'a XdpPacket<'a, FRAGS>,
    handed: Handed,
    seen: Seen<'a, XdpPacket<'a, FRAGS>, AddressV4>,
) -> SeenFacts<'a, XdpPacket<'a, FRAGS>, AddressV4, L> {
    let class = |field: Field, intervals: &IntervalTable, address: AddressV4| {
        if rules().used & field.bit() == 0 {
            return 0;
        }
        address_v4(intervals::find(lines, intervals, address.bits()))
    };
    // Before the other fields, as all waits for this, and nothing for what is read for those.
    let source = class(Field::Source, &rules().source, handed.source());
    let destination = class(Field::Destination, &rules().destination, handed.destination());
    // Rules that ask for sockets are not simple.
    let claim = ABSENT;
    SeenFacts { packet, seen, lines, geometry: rules(), interface: interface(), source, destination, claim }
}

/// Counts a packet of so many bytes.
struct KernelCounts<'a> {
    bytes: u32,
    /// Where it was not found yet, it is not looked for but by packets that count.
    clock: Option<&'a mut CoarseClock>,
}

impl Counts for KernelCounts<'_> {
    #[inline(always)]
    fn count(&mut self, counter: u32) {
        if let Some(clock) = &mut self.clock {
            count_rule(counter, self.bytes, clock);
        } else if let Some(scratch) = found(scratch()) {
            count_rule(counter, self.bytes, &mut scratch.clock);
        }
    }

    #[inline(always)]
    fn meets(&mut self, rule: u32) {
        twin::meet(rule);
    }
}

//! How the walk begins of IPv4 packets, where the classes of their addresses are found in intervals: a global function that
//! is handed the headers in registers finds which rules a packet may match, and does what the first of them says.
//!
//! It keeps what it finds in registers, where a walk that goes on keeps all in an element of a map. So a packet that no rule can
//! match, as most are, needs neither that element nor what rules ask beyond header fields; nor does one that meets a rule
//! where all of them are simple ([`filter_common::policy::classifier::simple`]). Each function comes once for up to 64 rules
//! and once for more, as a compiler that has both before it keeps neither's numbers in registers. Costs the classifier's
//! lines, then what the rule does.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use filter_common::keys::AddressV4;
use filter_common::parse::{Headers, PacketRead as _};
use filter_common::policy::classifier::field::{Field, address_v4, beyond_fields};
use filter_common::policy::classifier::geometry::IntervalTable;
use filter_common::policy::classifier::simple::{self, Begun, Counts};
use filter_common::policy::classifier::{intervals, lookup};
use filter_common::policy::facts::SeenFacts;
use filter_common::policy::handed::Handed;
use filter_common::policy::observed::Family;
use filter_common::policy::scratch::{CoarseClock, Scratch};
use filter_common::policy::seen::Seen;
use filter_common::table::RULE_LINES;
use filter_common::table::lines::Lines;

use super::lines::{geometry, in_lines};
use super::policy::{count_rule, found, interface, makes_bare_cookies, rules, scratch, step};
use crate::packet::XdpPacket;
use crate::twin;

/// Whether the walk of IPv4 packets begins here.
#[inline(always)]
pub(super) fn is_on() -> bool {
    rules().has_intervals()
}

/// Whether it begins with the functions for simple rules.
#[inline(always)]
fn is_simple() -> bool {
    rules().is_simple() && !makes_bare_cookies()
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
    few_rules: (false) few;
    /// The same for frames in several buffers.
    few_rules_frags: (true) few;
    /// Begins with more rules.
    many_rules: (false) many;
    /// The same for frames in several buffers.
    many_rules_frags: (true) many;
    /// Begins with up to 64 simple rules.
    few_simple: (false) simply_few;
    /// The same for frames in several buffers.
    few_simple_frags: (true) simply_few;
    /// Begins with more simple rules.
    many_simple: (false) simply_many;
    /// The same for frames in several buffers.
    many_simple_frags: (true) simply_many;
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
    let are_few = rules().words == 1;
    Begun::from_number(match (is_simple(), are_few, FRAGS) {
        (false, true, false) => few_rules(ctx, addresses, ports, layers),
        (false, true, true) => few_rules_frags(ctx, addresses, ports, layers),
        (false, false, false) => many_rules(ctx, addresses, ports, layers),
        (false, false, true) => many_rules_frags(ctx, addresses, ports, layers),
        (true, true, false) => few_simple(ctx, addresses, ports, layers),
        (true, true, true) => few_simple_frags(ctx, addresses, ports, layers),
        (true, false, false) => many_simple(ctx, addresses, ports, layers),
        (true, false, true) => many_simple_frags(ctx, addresses, ports, layers),
    })
}

/// Where there is no map, there is no rule: see [`in_lines`].
const _: () = assert!(Begun::OVER.number() == 0);

/// What is done with an IPv4 packet's facts and the lines that rules are found in.
macro_rules! with_facts {
    ($frags:ident, $ctx:ident, $handed:ident, |$lines:ident, $packet:ident, $facts:ident| $do:expr) => {{
        let $packet = XdpPacket::<$frags>::of_length($ctx, $handed.frame_length());
        // First, as nothing stays in registers where a frame in several buffers is read.
        let Some(seen) = Seen::of_handed(&$packet, $handed, rules().used) else {
            return Begun::OVER.number();
        };
        in_lines!(up to RULE_LINES + geometry().policy_lines, |$lines| {
            let $facts = facts(&$lines, &$packet, $handed, seen);
            $do
        })
    }};
}

#[inline(always)]
fn few<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    with_facts!(FRAGS, ctx, handed, |lines, packet, facts| {
        let candidates = lookup::few(&lines, rules(), &facts);
        if candidates == 0 {
            return Begun::OVER.number();
        }
        let Some(scratch) = found(scratch()) else { return Begun::OVER.number() };
        scratch.observed.packet(&packet, &handed.headers(), beyond_fields(rules().used));
        scratch.walk.go_on_with(candidates);
        step::<FRAGS, _>(ctx, &lines, scratch).into()
    })
}

#[inline(always)]
fn many<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    with_facts!(FRAGS, ctx, handed, |lines, packet, facts| {
        let Some(scratch) = found(scratch()) else { return Begun::OVER.number() };
        scratch.walk.find(&lines, rules(), &facts);
        if scratch.walk.candidates.is_empty() {
            return Begun::OVER.number();
        }
        scratch.observed.packet(&packet, &handed.headers(), beyond_fields(rules().used));
        // What the first rule does is left to the function for the next one, so as to have it verified once.
        Begun::NEXT.number()
    })
}

#[inline(always)]
fn simply_few<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    let bytes = bytes(handed);
    with_facts!(FRAGS, ctx, handed, |lines, packet, facts| {
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
fn simply_many<const FRAGS: bool>(ctx: &XdpContext, handed: Handed) -> u64 {
    let bytes = bytes(handed);
    with_facts!(FRAGS, ctx, handed, |lines, packet, facts| {
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
    SeenFacts { packet, seen, lines, geometry: rules(), interface: interface(), source, destination }
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

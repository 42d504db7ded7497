//! How the walk begins of IPv4 packets, where rules are plain ([`filter_common::policy::classifier::plain`]).
//!
//! One global function looks at what a packet says, finds its rules and does what the first says: it is handed the headers
//! in registers, and with up to 64 rules what it finds stays there, where other policies note all of it in an element of a
//! map for functions that come later. A function for up to 64 rules and one for more, as a compiler that has both before it
//! keeps neither's numbers in registers. Costs the classifier's lines, and of a rule that counts its counters, this CPU's
//! element and the kernel's tick.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use filter_common::keys::AddressV4;
use filter_common::parse::{Headers, PacketRead as _};
use filter_common::policy::classifier::field::{Field, address_v4};
use filter_common::policy::classifier::geometry::IntervalTable;
use filter_common::policy::classifier::intervals;
use filter_common::policy::classifier::plain::{self, Begun, Counts};
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
    rules().is_plain() && rules().has_intervals() && !makes_bare_cookies()
}

/// Begins with an IPv4 packet.
#[inline(always)]
pub(super) fn begin<const FRAGS: bool, A: Family>(
    ctx: &XdpContext,
    packet: &XdpPacket<'_, FRAGS>,
    headers: &Headers<A>,
) -> Begun {
    let Handed { addresses, ports, layers } = Handed::of(headers, packet.frame_length());
    let ctx = ctx.as_ptr().cast();
    Begun::from_number(match (FRAGS, rules().words == 1) {
        (false, true) => begin_few(ctx, addresses, ports, layers),
        (true, true) => begin_few_frags(ctx, addresses, ports, layers),
        (false, false) => begin_many(ctx, addresses, ports, layers),
        (true, false) => begin_many_frags(ctx, addresses, ports, layers),
    })
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $name:ident: $frags:literal, $few:literal;)*) => {$(
        $(#[doc = $doc])+
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(ctx: *mut xdp_md, addresses: u64, ports: u64, layers: u64) -> u64 {
            begun::<$frags, $few>(ctx, Handed { addresses, ports, layers })
        }
    )*};
}

functions! {
    /// Begins with up to 64 rules.
    begin_few: false, true;
    /// The same for frames in several buffers.
    begin_few_frags: true, true;
    /// Begins with more rules.
    begin_many: false, false;
    /// The same for frames in several buffers.
    begin_many_frags: true, false;
}

/// Where there is no map, there is no rule: see [`in_lines`].
const _: () = assert!(Begun::OVER.number() == 0);

#[inline(always)]
fn begun<const FRAGS: bool, const FEW: bool>(ctx: *mut xdp_md, handed: Handed) -> u64 {
    let ctx = XdpContext::new(ctx);
    let headers = handed.headers();
    let packet = XdpPacket::<FRAGS>::of_length(&ctx, handed.frame_length());
    // First, as nothing stays in registers where a frame in several buffers is read.
    let seen = Seen::new(&packet, &headers, rules().used);
    in_lines!(up to RULE_LINES + geometry().policy_lines, |lines| {
        first::<FRAGS, FEW, _>(&lines, &packet, &headers, seen).number()
    })
}

#[inline(always)]
fn first<const FRAGS: bool, const FEW: bool, L: Lines>(
    lines: &L,
    packet: &XdpPacket<'_, FRAGS>,
    headers: &Headers<AddressV4>,
    seen: Seen<'_, XdpPacket<'_, FRAGS>, AddressV4>,
) -> Begun {
    let class = |field: Field, intervals: &IntervalTable, address: AddressV4| {
        if rules().used & field.bit() == 0 {
            return 0;
        }
        address_v4(intervals::find(lines, intervals, address.bits()))
    };
    // Before the other fields, as all waits for this, and nothing for what is read for those.
    let source = class(Field::Source, &rules().source, headers.addresses.source);
    let destination = class(Field::Destination, &rules().destination, headers.addresses.destination);
    let facts =
        SeenFacts { packet, seen, lines, geometry: rules(), interface: interface(), source, destination };
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB")]
    let bytes = packet.frame_length() as u32;
    if FEW {
        let (begun, left) =
            plain::begin_few(lines, rules(), &facts, &mut KernelCounts { bytes, clock: None });
        if begun.is(Begun::NEXT) {
            let Some(Scratch { observed, walk, .. }) = found(scratch()) else { return Begun::OVER };
            observed.bytes = bytes;
            walk.go_on_with(left);
        }
        return begun;
    }
    let Some(Scratch { observed, walk, clock, .. }) = found(scratch()) else { return Begun::OVER };
    observed.bytes = bytes;
    plain::begin(lines, rules(), &facts, &mut KernelCounts { bytes, clock: Some(clock) }, walk)
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

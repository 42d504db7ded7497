//! The rules' part of the program: facts of the packet, the walk along its rules, and what rules do.
//!
//! The walk is made of global functions, each verified once: one that finds the rules and looks at the first, in two parts
//! where rules look at addresses and the packet is IPv6; one that looks at the next, and one that does so until none is left.
//! Between them, facts and state lie in an element of a per-CPU array, whose address they are handed: the kernel knows by
//! its type how much lies there. Simple rules have a shorter way for IPv4, [`begin`]. Costs nothing but a test of read-only
//! data where there are no rules; else that look-up, the classifier's lines ([`filter_common::policy::classifier`]), and
//! for each rule that counts its counters and the kernel's tick. The clock itself is read at most once, where a limit or a
//! ban is met.

use core::ptr::null_mut;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_CURRENT_CPU, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, PerfEventByteArray};
use aya_ebpf::programs::XdpContext;
use filter_common::abi::{AddressKey, MAX_ASKED, MAX_ASKED_HOSTS, MAX_BANS, SAMPLE_BYTES, SampleHead};
use filter_common::config::PolicySwitches;
use filter_common::counters::RuleCounter;
use filter_common::parse::{Headers, L4Kind};
use filter_common::policy::asked::{self, Asked, AskedKey, Kind};
use filter_common::policy::claimed::Claim;
use filter_common::policy::classifier::field::{ABSENT, ADDRESSES, Field};
use filter_common::policy::classifier::geometry::IntervalTable;
use filter_common::policy::classifier::simple::Begun;
use filter_common::policy::classifier::{
    Effects, MAX_RULES, Outcome, OutcomeKind, RulesGeometry, Step, intervals,
};
use filter_common::policy::facts::{self, AddressClass, PacketFacts};
use filter_common::policy::limiter::{Cells, Slots};
use filter_common::policy::limits;
use filter_common::policy::observed::{Family, Observed, family};
use filter_common::policy::scratch::{CoarseClock, Scratch};
use filter_common::stages::rules::Rules;
use filter_common::table::lines::{Lines, WORDS};
use filter_common::table::{RULE_LINES, TableKind};
use filter_common::twin::Met;

use super::lines::{KernelLine, geometry, in_lines, loaded};
use super::search::{rule_dst_v6, rule_src_v6, rule_v4};
use super::{begin, claimed, connected, syn};
use crate::packet::XdpPacket;
use crate::twin;

#[map]
static RULE_COUNTERS: PerCpuArray<RuleCounter> = PerCpuArray::with_max_entries(1, 0);
#[map]
static BUCKETS: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
#[map]
static BANS: LruHashMap<AddressKey, u64> = LruHashMap::with_max_entries(MAX_BANS, 0);
#[map]
static ASKED: LruHashMap<AskedKey, u64> = LruHashMap::with_max_entries(MAX_ASKED, 0);
#[map]
static ASKED_HOSTS: LruHashMap<AskedKey, u64> = LruHashMap::with_max_entries(MAX_ASKED_HOSTS, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static SAMPLES: PerfEventByteArray = PerfEventByteArray::new(0);

/// What the policy switches on; the controller writes it before the kernel freezes and verifies the program.
#[unsafe(no_mangle)]
static POLICY: PolicySwitches = PolicySwitches::NONE;

/// Where the rules lie; likewise.
#[unsafe(no_mangle)]
static RULES: RulesGeometry = RulesGeometry::NONE;

/// One switch of the policy.
macro_rules! policy {
    ($field:ident) => {{
        // SAFETY: a valid, initialised static. Volatile, because the loader replaces its bytes after compilation.
        unsafe { core::ptr::read_volatile(&raw const POLICY.$field) }
    }};
}

/// The rules' geometry where it lies.
#[inline(always)]
pub(super) fn rules() -> &'static RulesGeometry {
    loaded(&raw const RULES)
}

/// The class of the interface.
#[inline(always)]
pub(super) fn interface() -> u32 {
    policy!(interface)
}

/// Whether cookies may be made without looking for a socket.
#[inline(always)]
pub(super) fn makes_bare_cookies() -> bool {
    policy!(bare_cookies) != 0
}

/// This CPU's element, found once a packet and handed on: to find it takes the kernel's instructions longer than to use it.
#[inline(always)]
pub(super) fn scratch() -> *mut Scratch {
    SCRATCH.get_ptr_mut(0).unwrap_or_default()
}

/// The element that a pointer is to; none where it was not found, which only the verifier believes.
#[inline(always)]
pub(super) fn found(scratch: *mut Scratch) -> Option<&'static mut Scratch> {
    // SAFETY: null, or this CPU's own value, and XDP runs with softirqs off: whoever holds another reference to it is a caller
    // that does not use it until this one is gone.
    unsafe { scratch.as_mut() }
}

/// A packet of so many bytes counts for these counters.
#[inline(always)]
pub(super) fn count_rule(counter: u32, bytes: u32, clock: &mut CoarseClock) {
    twin::mark(Met::Counted);
    if let Some(counter) = RULE_COUNTERS.get_ptr_mut(counter) {
        let now = twin::now_or(|| {
            // SAFETY: helpers without arguments.
            clock.at(unsafe { bpf_jiffies64() }, || unsafe { bpf_ktime_get_coarse_ns() })
        });
        // SAFETY: the counter is this CPU's own, and nothing else refers to it.
        unsafe { (*counter).count(bytes.into(), now) };
    }
}

/// What is known of a packet before the walk along its rules, or behind its beginning.
#[derive(Clone, Copy)]
pub struct Noted {
    /// This CPU's element, where it holds what was observed: null for packets that rules are not asked about, and for those
    /// whose walk has ended as it began.
    scratch: *mut Scratch,
    /// How far the walk has come.
    begun: Begun,
}

impl Noted {
    #[inline(always)]
    const fn observed(scratch: *mut Scratch) -> Self {
        Self { scratch, begun: Begun::NOT }
    }
}

/// The rules of this generation.
pub struct KernelRules<'a> {
    ctx: &'a XdpContext,
}

impl<'a> KernelRules<'a> {
    /// Before the packet of this run.
    #[inline(always)]
    pub const fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Begins the walk of an IPv4 packet, see [`begin`].
    #[inline(always)]
    fn begin<const FRAGS: bool, A: Family>(
        &self,
        packet: &XdpPacket<'_, FRAGS>,
        headers: &Headers<A>,
    ) -> Noted {
        let begun = begin::begin(self.ctx, packet, headers);
        Noted { scratch: if begun.has_ended() { null_mut() } else { scratch() }, begun }
    }

    /// Whether a packet goes on to the host after such a walk.
    #[inline(always)]
    fn is_passed(&self, kind: OutcomeKind) -> bool {
        kind as u32 == OutcomeKind::Pass as u32
            || kind as u32 == OutcomeKind::None as u32 && policy!(default_drop) == 0
    }
}

impl<const FRAGS: bool> Rules<XdpPacket<'_, FRAGS>> for KernelRules<'_> {
    type Noted = Noted;

    #[inline(always)]
    fn are_on(&self) -> bool {
        // SAFETY: as for a switch of the policy.
        (unsafe { core::ptr::read_volatile(&raw const RULES.rules) }) != 0
    }

    #[inline(always)]
    fn default_drops(&self) -> bool {
        policy!(default_drop) != 0
    }

    #[inline(always)]
    fn is_banned<A: Family>(&self, source: A) -> bool {
        if policy!(bans) == 0 {
            return false;
        }
        let [first, last] = source.words();
        is_banned(first, last, A::NUMBER) != 0
    }

    #[inline(always)]
    fn passes<A: Family>(&self, _: &XdpPacket<'_, FRAGS>, headers: &Headers<A>) {
        if makes_bare_cookies() && headers.l4.kind == L4Kind::Tcp {
            let offsets = headers.layers.transport << 16 | headers.layers.network & 0xffff;
            let source = headers.addresses.source.words();
            connected::see_segment::<FRAGS>(self.ctx, headers.l4.flags().into(), source, offsets, A::NUMBER);
        }
    }

    #[inline(always)]
    fn nothing(&self) -> Noted {
        Noted::observed(null_mut())
    }

    #[inline(always)]
    fn observe_frame(&self, packet: &XdpPacket<'_, FRAGS>) -> Noted {
        let noted = scratch();
        if let Some(scratch) = found(noted) {
            scratch.observed.frame(packet, rules().used);
        }
        Noted::observed(noted)
    }

    #[inline(always)]
    fn observe<A: Family>(&self, packet: &XdpPacket<'_, FRAGS>, headers: &Headers<A>) -> Noted {
        if A::NUMBER == family::V4 && begin::is_on() {
            return self.begin(packet, headers);
        }
        let noted = scratch();
        if let Some(scratch) = found(noted) {
            scratch.observed.packet(packet, headers, rules().used);
        }
        Noted::observed(noted)
    }

    #[inline(always)]
    fn walk(&self, _: &XdpPacket<'_, FRAGS>, Noted { scratch: noted, begun }: Noted) -> Outcome {
        let ctx = self.ctx.as_ptr().cast();
        if begun.has_ended() {
            let outcome = begun.outcome();
            if outcome.kind as u32 != OutcomeKind::None as u32 {
                twin::decided(outcome.rule);
            }
            return outcome;
        }
        let mut step = begun.step();
        if begun.is(Begun::NOT) {
            step = if FRAGS { first_rule_frags(ctx, noted) } else { first_rule(ctx, noted) };
        }
        if step == SEARCH {
            let Some(scratch) = found(noted) else { return Outcome::NONE };
            // In the program itself: the search below the look-up of rules would take more than the 512 bytes of stack that
            // functions have together.
            facts::find_classes(&mut scratch.observed, rules().used, &ClassesV6);
            step = if FRAGS { found_rule_frags(ctx, noted) } else { found_rule(ctx, noted) };
        }
        if policy!(defences) != 0 && step == Step::Defend as u32 {
            step = syn::step::<FRAGS>(ctx, noted);
        }
        if step == NEXT {
            step = if FRAGS { other_rules_frags(ctx, noted) } else { other_rules(ctx, noted) };
        }
        let Some(scratch) = found(noted) else { return Outcome::NONE };
        let outcome = if step == Step::Decided as u32 { scratch.walk.outcome } else { Outcome::NONE };
        if makes_bare_cookies() && self.is_passed(outcome.kind) {
            // A rule that defends wants the flags of TCP, addresses, and where the headers are.
            let Observed { source, headers, family, .. } = scratch.observed;
            let flags = scratch.observed.value(Field::TcpFlags);
            if flags != ABSENT {
                connected::see_segment::<FRAGS>(self.ctx, flags, source, headers, family);
            }
        }
        if step == Step::Decided as u32 {
            twin::decided(outcome.rule);
        }
        outcome
    }
}

/// Where there is no map, there is no rule: see [`in_lines`].
const _: () = assert!(Step::Over as u32 == 0);
/// There is another rule.
const NEXT: u32 = Step::Next as u32;
const WAS_ASKED: u32 = Asked::Yes as u32;
const WAS_NOT_ASKED: u32 = Asked::No as u32;
const CLAIMED: u32 = Claim::Yes as u32;
const UNCLAIMED: u32 = Claim::No as u32;
/// What [`first_rule`] says in place of a [`Step`] where IPv6 addresses have to be searched for.
const SEARCH: u32 = Step::Defend as u32 + 1;

/// Whether a source is banned now; global functions are explained with the prefix searches.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_banned(first: u64, last: u64, family: u32) -> u32 {
    let key = AddressKey { address: [first, last], family: family.into() };
    let Some(until) = BANS.get_ptr(key) else { return 0 };
    // SAFETY: a value of the map, aligned; another CPU may replace it, as one word.
    let until = unsafe { core::ptr::read_volatile(until) };
    // SAFETY: a helper without arguments.
    u32::from(until > twin::now_or(|| unsafe { bpf_ktime_get_ns() }))
}

/// Whether this host asked for this CPU's packet, as the number of an [`Asked`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn was_asked() -> u32 {
    let Some(Scratch { observed, everybody, .. }) = found(scratch()) else { return Asked::Neither as u32 };
    // SAFETY: a helper without arguments.
    let now = twin::now_or(|| unsafe { bpf_ktime_get_coarse_ns() });
    asked::is_asked(&observed.asked, everybody, now, |key| {
        let noted = match key.kind() {
            Kind::Host => ASKED_HOSTS.get_ptr(key),
            Kind::Exchange | Kind::None => ASKED.get_ptr(key),
        }?;
        // SAFETY: a value of the map, aligned; another CPU may replace it, as one word.
        Some(unsafe { core::ptr::read_volatile(noted) })
    }) as u32
}

/// Declares what is done at once, as a call and its return cost as much as a look-up: for frames in one buffer and for those
/// in several. The context is the run's own: the kernel sees to that by its type.
macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $one:ident $frags:ident: $prepare:ident;)*) => {$(
        $(#[doc = $doc])+
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $one(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
            let Some(scratch) = found(noted) else { return Step::Over as u32 };
            in_lines!(up to RULE_LINES + geometry().policy_lines, |lines| match $prepare(&lines, scratch) {
                NEXT => step::<false, _>(&XdpContext::new(ctx), &lines, scratch),
                instead => instead,
            })
        }

        /// The same for frames in several buffers.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $frags(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
            let Some(scratch) = found(noted) else { return Step::Over as u32 };
            in_lines!(up to RULE_LINES + geometry().policy_lines, |lines| match $prepare(&lines, scratch) {
                NEXT => step::<true, _>(&XdpContext::new(ctx), &lines, scratch),
                instead => instead,
            })
        }
    )*};
}

steps! {
    /// Finds the rules and looks at the first; of IPv6 as far as addresses, if rules look at those.
    first_rule first_rule_frags: find;
    /// Goes on where the classes of addresses are found: finds the rules and looks at the first.
    found_rule found_rule_frags: find_by_addresses;
    /// Looks at the next rule.
    next_rule next_rule_frags: already_found;
}

#[inline(always)]
fn find<L: Lines>(lines: &L, scratch: &mut Scratch) -> u32 {
    scratch.walk.begin();
    claimed::recall(scratch);
    let is_v6 = scratch.observed.family == family::V6;
    if rules().used & ADDRESSES != 0 && rules().has_intervals() && !is_v6 {
        // First, as nothing waits for what is read for the other fields, and all waits for this.
        facts::find_classes(&mut scratch.observed, rules().used, &ClassesV4 { lines });
        narrow(lines, scratch, rules().used);
        scratch.walk.candidates.end(lines, rules());
        return NEXT;
    }
    narrow(lines, scratch, rules().used & !ADDRESSES);
    if rules().used & ADDRESSES != 0 {
        if !scratch.walk.candidates.is_open() {
            return Step::Over as u32;
        }
        if is_v6 {
            return SEARCH;
        }
        facts::find_classes(&mut scratch.observed, rules().used, &ClassesV4 { lines });
    }
    find_by_addresses(lines, scratch)
}

#[inline(always)]
fn find_by_addresses<L: Lines>(lines: &L, scratch: &mut Scratch) -> u32 {
    narrow(lines, scratch, rules().used & ADDRESSES);
    scratch.walk.candidates.end(lines, rules());
    NEXT
}

/// Walks along the rules that are left. Apart from the program: the verifier walks this loop to its end for each state in
/// which it is come to, and the program has several.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn other_rules(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    others::<false>(ctx, noted)
}

/// The same for frames in several buffers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn other_rules_frags(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    others::<true>(ctx, noted)
}

#[inline(always)]
fn others<const FRAGS: bool>(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    let mut step = NEXT;
    for _ in 0..MAX_RULES {
        step = if FRAGS { next_rule_frags(ctx, noted) } else { next_rule(ctx, noted) };
        if policy!(defences) != 0 && step == Step::Defend as u32 {
            step = syn::step::<FRAGS>(ctx, noted);
        }
        if step != NEXT {
            break;
        }
    }
    step
}

#[inline(always)]
const fn already_found<L: Lines>(_: &L, _: &mut Scratch) -> u32 {
    NEXT
}

/// Looks at the next rule.
#[inline(always)]
fn step<const FRAGS: bool, L: Lines>(ctx: &XdpContext, lines: &L, scratch: &mut Scratch) -> u32 {
    let Scratch { observed, walk, clock, .. } = scratch;
    let mut effects = KernelEffects::<FRAGS, L> { ctx, lines, observed, clock };
    walk.step(lines, rules(), &mut effects) as u32
}

#[inline(always)]
fn narrow<L: Lines>(lines: &L, Scratch { observed, walk, .. }: &mut Scratch, fields: u32) {
    let facts = PacketFacts { observed, lines, geometry: rules(), interface: interface() };
    walk.candidates.narrow(lines, rules(), fields, &facts);
}

/// The classes of IPv4 addresses; of IPv6 there is no packet where it is asked.
struct ClassesV4<'a, L> {
    lines: &'a L,
}

impl<L: Lines> ClassesV4<'_, L> {
    /// Which of the two it is, the verifier knows from read-only data, and prunes the other.
    #[inline(always)]
    fn class(&self, kind: TableKind, intervals: &IntervalTable, address: u32) -> u32 {
        if intervals.is_there() {
            intervals::find(self.lines, intervals, address)
        } else {
            rule_v4(kind, address)
        }
    }
}

impl<L: Lines> AddressClass for ClassesV4<'_, L> {
    #[inline(always)]
    fn source_v4(&self, address: u32) -> u32 {
        self.class(TableKind::RuleSource, &rules().source, address)
    }

    #[inline(always)]
    fn source_v6(&self, _: [u64; 2]) -> u32 {
        0
    }

    #[inline(always)]
    fn destination_v4(&self, address: u32) -> u32 {
        self.class(TableKind::RuleDestination, &rules().destination, address)
    }

    #[inline(always)]
    fn destination_v6(&self, _: [u64; 2]) -> u32 {
        0
    }
}

/// The classes of IPv6 addresses, likewise.
struct ClassesV6;

impl AddressClass for ClassesV6 {
    #[inline(always)]
    fn source_v4(&self, _: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn source_v6(&self, [first, last]: [u64; 2]) -> u32 {
        rule_src_v6(first, last)
    }

    #[inline(always)]
    fn destination_v4(&self, _: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn destination_v6(&self, [first, last]: [u64; 2]) -> u32 {
        rule_dst_v6(first, last)
    }
}

/// Charges a packet to a limit; whether it is over it.
#[inline(always)]
pub(super) fn is_over<L: Lines>(lines: &L, limit: u32, now: u64, observed: &Observed) -> bool {
    let is_over = limits::is_over(lines, policy!(limits), limit, &KernelCells, now, observed);
    if twin::IS_TWIN && !is_over {
        twin::mark(Met::WithinLimit);
    }
    is_over
}

/// What rules do.
pub(super) struct KernelEffects<'a, const FRAGS: bool, L> {
    pub(super) ctx: &'a XdpContext,
    pub(super) lines: &'a L,
    pub(super) observed: &'a Observed,
    pub(super) clock: &'a mut CoarseClock,
}

impl<const FRAGS: bool, L: Lines> Effects for KernelEffects<'_, FRAGS, L> {
    #[inline(always)]
    fn count(&mut self, counter: u32) {
        count_rule(counter, self.observed.bytes, self.clock);
    }

    #[inline(always)]
    fn now(&mut self) -> u64 {
        // SAFETY: a helper without arguments.
        twin::now_or(|| unsafe { bpf_ktime_get_ns() })
    }

    #[inline(always)]
    fn random(&mut self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn is_over(&mut self, limit: u32, now: u64) -> bool {
        is_over(self.lines, limit, now, self.observed)
    }

    #[inline(always)]
    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)> {
        self.observed.payload(&XdpPacket::<FRAGS>::new(self.ctx), offset, length)
    }

    #[inline(always)]
    fn asked(&mut self) -> Asked {
        match was_asked() {
            WAS_ASKED => Asked::Yes,
            WAS_NOT_ASKED => Asked::No,
            _ => Asked::Neither,
        }
    }

    #[inline(always)]
    fn claim(&mut self) -> Claim {
        match claimed::claim_of(self.ctx.ctx) {
            CLAIMED => Claim::Yes,
            UNCLAIMED => Claim::No,
            _ => Claim::Neither,
        }
    }

    #[inline(always)]
    fn ban(&mut self, seconds: u32, now: u64) {
        let key = AddressKey { address: self.observed.source, family: self.observed.family.into() };
        let until = now.wrapping_add(u64::from(seconds).wrapping_mul(1_000_000_000));
        // It fails only where the kernel has no free element at hand: the next packet bans then.
        let _ = BANS.insert(key, until, 0);
    }

    #[inline(always)]
    fn sample(&mut self, counter: u32) {
        if twin::IS_TWIN {
            // Nobody is shown what never came.
            return;
        }
        // SAFETY: a valid context.
        let ifindex = unsafe { (*self.ctx.ctx).ingress_ifindex };
        let captured = self.observed.bytes.min(SAMPLE_BYTES);
        // SAFETY: a helper without arguments.
        let at_ns = unsafe { bpf_ktime_get_coarse_ns() };
        let head = SampleHead { at_ns, rule: counter, ifindex, bytes: self.observed.bytes, captured };
        // SAFETY: the type has no padding, so all its bytes are initialised.
        let bytes: [u8; size_of::<SampleHead>()] = unsafe { core::mem::transmute(head) };
        // The kernel appends as many bytes of the frame as the flags say. Where nobody listens, it does nothing.
        SAMPLES.output_at_index(self.ctx, (BPF_F_CURRENT_CPU & 0xffff_ffff) as u32, &bytes, captured);
    }

    #[inline(always)]
    fn meets(&mut self, rule: u32) {
        twin::meet(rule);
    }
}

/// Lines of buckets.
struct KernelCells;

impl Cells for KernelCells {
    type Line = KernelLine;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<KernelLine> {
        BUCKETS.get_ptr(index).map(KernelLine)
    }
}

impl Slots for KernelLine {
    #[inline(always)]
    fn compare_exchange(self, slot: u32, old: u64, new: u64) -> bool {
        let word = self.0.cast::<u64>().wrapping_add(slot as usize & (WORDS - 1)).cast_mut();
        let mut found = old;
        // SAFETY: the word is one of a map's value, aligned; all CPUs change it by this instruction alone. rustc offers no
        // atomic operations for this target.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) word,
                new = in(reg) new,
                inout("r0") found,
                options(nostack),
            );
        }
        found == old
    }
}

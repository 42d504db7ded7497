//! Rules by chance: any that the language can say, with values that often meet each other.

use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::domain;
use super::super::draft::{Located, RuleSpans};
use super::super::problem::Findings;
use super::*;

/// Any rule.
pub fn any_rule() -> impl Strategy<Value = Rule> {
    let mode = select(vec![Mode::Enforce, Mode::Count]);
    (any_action(), mode, vec(any_match(), 0..6), proptest::option::of("[a-z][A-Za-z0-9_.-]{0,62}")).prop_map(
        |(action, mode, conditions, name)| {
            let name =
                name.and_then(|name| RuleName::new(&name)).filter(|name| !name.as_str().starts_with("rule-"));
            with_matches(Rule { name, action, mode, matches: Matches::default() }, conditions)
        },
    )
}

/// A rule that decides, and another that is often about packets that the first decides about: some of its conditions are
/// those of the first, some are others on the same fields.
pub fn related_rules() -> impl Strategy<Value = (Rule, Rule)> {
    let action = select(vec![Action::Drop, Action::Pass, Action::Ban(Duration::from_secs(1))]);
    let fates = vec(0..8_usize, 4);
    (action, vec(any_match(), 0..3), vec(any_match(), 60), vec(any_match(), 0..3), fates).prop_map(
        |(action, conditions, pool, more, fates)| {
            let plain =
                |action| Rule { name: None, action, mode: Mode::Enforce, matches: Matches::default() };
            let first = with_matches(plain(action), conditions);
            let about = |field: Field| pool.iter().find(|other| other.value.field() == field).cloned();
            let kept = first.matches.iter().zip(fates).filter_map(|(condition, fate)| match fate {
                0 => None,
                1..4 => about(condition.value.field()),
                _ => Some(condition.clone()),
            });
            let second = with_matches(plain(Action::Count), kept.chain(more).collect());
            (first, second)
        },
    )
}

/// The rule with as many of the conditions as do not exclude each other.
fn with_matches(mut rule: Rule, conditions: Vec<Match>) -> Rule {
    for condition in conditions {
        let field = condition.value.field();
        if rule.matches.insert(condition) && !is_possible(&rule) {
            rule.matches.remove(field);
        }
    }
    rule.settle_icmp();
    rule
}

fn is_possible(rule: &Rule) -> bool {
    let located = Located { rule: rule.clone(), spans: RuleSpans::default() };
    domain::check(&located, &mut Findings::default())
}

/// Any action.
fn any_action() -> impl Strategy<Value = Action> {
    let rate = prop_oneof![
        (1..=10_000_000_000_u64).prop_map(Rate::Packets),
        select(vec![1, 1000, 10_000, 1_000_000, 10_000_000_000]).prop_map(Rate::Packets),
        (5..=10_000_000_000_u64).prop_map(Rate::PacketsAMinute),
        (1000..=10_000_000_000_000_u64).prop_map(Rate::Bits),
        select(vec![1000, 1_000_000, 10_000_000_000_000]).prop_map(Rate::Bits),
    ];
    let per = prop_oneof![
        Just(Per::SOURCE),
        (1..=128_u8).prop_map(Per::source_prefix),
        (1..=32_u8, 1..=128_u8).prop_map(|(v4, v6)| Per::Source { v4, v6 }),
        select(vec![Per::Destination, Per::Service, Per::Total]),
    ];
    let limit =
        (rate, proptest::option::of(1000..=10_000_000_000_u64), per).prop_map(|(rate, burst, per)| {
            Action::Limit(Limit { rate, burst: burst.unwrap_or(rate.default_burst()), per })
        });
    prop_oneof![
        4 => select(vec![Action::Drop, Action::Pass, Action::Count]),
        2 => limit,
        1 => (1..=10 * 31_557_600_u64).prop_map(|seconds| Action::Ban(Duration::from_secs(seconds))),
        1 => any_ratio().prop_map(|ratio| Action::Sample(if ratio.is_zero() { Ratio::new(1, 3).unwrap() } else { ratio })),
        1 => any_interface().prop_map(Action::Redirect),
    ]
}

fn any_ratio() -> impl Strategy<Value = Ratio> {
    let any = (any::<u32>(), 1..=u32::MAX);
    prop_oneof![any, (0..=4_u32, 4..=100_u32)].prop_map(|(a, b)| Ratio::new(a.min(b), a.max(b)).unwrap())
}

fn any_interface() -> impl Strategy<Value = InterfaceName> {
    let usual =
        select(vec!["eth0", "eth1", "br-lan.100", "not", "e{0}", "a#b", "@x"]).prop_map(str::to_owned);
    let odd = "[!#-.0-9;-~]{1,15}";
    prop_oneof![usual, odd]
        .prop_map(|name| InterfaceName::new(&name).unwrap_or(InterfaceName::new("x").unwrap()))
}

/// Numbers up to `most`, few of them often.
fn number(most: u16) -> impl Strategy<Value = u16> {
    prop_oneof![
        select(vec![0, 1, 5, 6, 17, 53, 58]).prop_map(move |number: u16| number.min(most)),
        0..=most,
        Just(most)
    ]
}

fn ranges(most: u16) -> impl Strategy<Value = Ranges<u16>> {
    let one = prop_oneof![number(most).prop_map(|number| (number, number)), (number(most), number(most))];
    let ordered = one.prop_map(|(a, b)| (a.min(b), a.max(b)));
    vec(ordered, 1..4).prop_map(Ranges::new)
}

fn bytes(most: u16) -> impl Strategy<Value = Ranges<u8>> {
    ranges(most).prop_map(|ranges| ranges.narrow().unwrap())
}

/// Any address, few of them often.
pub fn any_prefix() -> impl Strategy<Value = IpNet> {
    let usual = [
        "0.0.0.0/0",
        "192.0.2.0/24",
        "192.0.2.7/32",
        "198.51.100.0/24",
        "::/0",
        "2001:db8::/32",
        "2001:db8::1/128",
    ];
    let usual = select(usual.map(|prefix| prefix.parse().unwrap()).to_vec());
    let any = (any::<std::net::IpAddr>(), 0..=128_u8).prop_map(|(address, length)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(most)).unwrap().trunc()
    });
    prop_oneof![3 => usual, 1 => any]
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let sets =
        select(vec!["monitoring", "a"]).prop_map(|name| Addresses::Set(SetName::try_from(name).unwrap()));
    let prefixes = vec(any_prefix(), 1..4).prop_map(|mut list| {
        list.sort_unstable();
        list.dedup();
        Addresses::Prefixes(list)
    });
    prop_oneof![1 => sets, 4 => prefixes]
}

fn macs() -> impl Strategy<Value = Vec<MacAddress>> {
    let one = prop_oneof![Just(MacAddress([2, 0, 0, 0, 0, 1])), any::<[u8; 6]>().prop_map(MacAddress)];
    vec(one, 1..3).prop_map(|mut list| {
        list.sort_unstable();
        list.dedup();
        list
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let byte = (select(vec![0x11_u8, 0x22, 0xff]), select(vec![0xf0_u8, 0xff, 0]));
    let bytes = (select(vec![0x11_u8, 0x33]), vec(byte, 0..=15));
    (prop_oneof![0..=2_u8, any::<u8>()], bytes).prop_map(|(offset, (first, rest))| {
        let bytes = std::iter::once((first, 0xff)).chain(rest);
        let (value, mask): (Vec<u8>, Vec<u8>) = bytes.map(|(value, mask)| (value & mask, mask)).unzip();
        Payload::new(offset, &value, &mask).unwrap()
    })
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    let mask = prop_oneof![select(vec![0x02_u8, 0x12, 0xff]), 1..=u8::MAX];
    (any::<u8>(), mask).prop_map(|(value, mask)| TcpFlags::new(value & mask, mask).unwrap())
}

/// Any condition.
fn any_match() -> impl Strategy<Value = Match> {
    let interfaces = vec(any_interface(), 1..3).prop_map(|mut list| {
        list.sort_unstable();
        list.dedup();
        Test::Interface(list)
    });
    let ether = prop_oneof![
        macs().prop_map(Test::EtherSource),
        macs().prop_map(Test::EtherDestination),
        ranges(u16::MAX).prop_map(Test::EtherType),
        select(vec![0x0800, 0x86dd, 0x0806]).prop_map(|number| Test::EtherType(Ranges::one(number))),
        ranges(4095).prop_map(Test::Vlan),
    ];
    let ip = prop_oneof![
        addresses().prop_map(Test::Source),
        addresses().prop_map(Test::Destination),
        bytes(255).prop_map(Test::Protocol),
        ranges(u16::MAX).prop_map(Test::Length),
        bytes(255).prop_map(Test::Ttl),
        bytes(63).prop_map(Test::Dscp),
        (1..8_u8).prop_map(|bits| Test::Fragment(FragmentStates::new(bits).unwrap())),
        (1..=u8::MAX).prop_map(|bits| Test::ExtensionHeader(ExtensionHeaders::new(bits).unwrap())),
    ];
    let l4 = prop_oneof![
        ranges(u16::MAX).prop_map(Test::SourcePort),
        ranges(u16::MAX).prop_map(Test::DestinationPort),
        flags().prop_map(Test::TcpFlags),
        bytes(255).prop_map(Test::IcmpType),
        bytes(255).prop_map(Test::IcmpCode),
        bytes(255).prop_map(Test::Icmpv6Type),
        bytes(255).prop_map(Test::Icmpv6Code),
        payload().prop_map(Test::Payload),
        Just(Test::Unasked),
        Just(Test::Unclaimed),
    ];
    let value = prop_oneof![1 => interfaces, 2 => ether, 4 => ip, 4 => l4, 1 => any_ratio().prop_map(Test::Probability)];
    (any::<bool>(), value).prop_map(|(negated, value)| Negatable { negated, value })
}

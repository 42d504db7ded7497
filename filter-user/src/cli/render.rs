//! Figures and documents as text for people.

use std::time::Duration;

use filter_common::verdict::{Reason, Verdict};
use ipnet::IpNet;

use super::table::aligned;
use crate::api::types::{Count, Interface, Mode, Place, SetSummary, Status, TableStatus, Traffic};

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with its unit, three significant digits: `74.1 MB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn scaled(number: u64, unit: &str) -> String {
    const STEPS: [(u64, &str); 5] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    for (step, letter) in STEPS {
        if number >= step {
            let value = number as f64 / step as f64;
            let digits = usize::from(value < 100.0) + usize::from(value < 10.0);
            return format!("{value:.digits$} {letter}{unit}");
        }
    }
    format!("{number} {unit}")
}

/// A size of memory with its unit: `19.2 MiB`.
pub fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}

/// A prefix as people write it: a single address without its length.
pub fn prefix(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// Text on one line, without control characters.
pub fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The same, at most 60 characters.
pub fn truncated(text: &str) -> String {
    const WIDTH: usize = 60;
    let mut short: String = on_one_line(text).chars().take(WIDTH).collect();
    if text.chars().nth(WIDTH).is_some() {
        short.push('…');
    }
    short
}

/// Warnings that go above everything else.
pub fn alarms(total: &Traffic) -> String {
    let errors = total.of(Reason::InternalError);
    if errors.packets == 0 {
        return String::new();
    }
    let style = anstyle::AnsiColor::Red.on_default().bold();
    format!(
        "{style}ALARM: {} packets met an internal error of Levee's own and passed unfiltered{style:#}\n",
        grouped(errors.packets)
    )
}

/// The figures of one interface, or of all together: verdicts, and under each its reasons that are not zero.
pub fn traffic(now: &Traffic, before: Option<(&Traffic, Duration)>) -> String {
    let mut header = vec!["", ">PACKETS", ">BYTES"];
    if before.is_some() {
        header.extend([">PACKETS/S", ">BIT/S"]);
    }
    let mut rows = Vec::new();
    let mut row = |name: String, now: Count, earlier: Option<Count>| {
        let mut cells = vec![name, grouped(now.packets), scaled(now.bytes, "B")];
        if let Some((_, over)) = before {
            let earlier = earlier.unwrap_or_default();
            cells.push(grouped(per_second(now.packets, earlier.packets, over)));
            cells.push(scaled(per_second(now.bytes, earlier.bytes, over).saturating_mul(8), "bit"));
        }
        rows.push(cells);
    };
    let earlier = before.map(|(traffic, _)| traffic);
    row("received".to_owned(), now.rx, earlier.map(|traffic| traffic.rx));
    for verdict in [Verdict::Pass, Verdict::Drop, Verdict::Tx, Verdict::Redirect] {
        let (name, of): (_, fn(&Traffic) -> Count) = match verdict {
            Verdict::Pass => ("passed", |traffic| traffic.pass),
            Verdict::Drop => ("dropped", |traffic| traffic.drop),
            Verdict::Tx => ("answered", |traffic| traffic.tx),
            Verdict::Redirect => ("redirected", |traffic| traffic.redirect),
        };
        if matches!(verdict, Verdict::Tx | Verdict::Redirect) && of(now).packets == 0 {
            continue;
        }
        row(name.to_owned(), of(now), earlier.map(of));
        for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == verdict) {
            let count = now.of(*reason);
            if count.packets > 0 {
                row(format!("  {}", reason.name()), count, earlier.map(|traffic| traffic.of(*reason)));
            }
        }
    }
    aligned(&header, rows)
}

/// Growth by second. Counters that went back belong to a new attachment, and count from zero.
fn per_second(now: u64, before: u64, over: Duration) -> u64 {
    let grown = now.checked_sub(before).unwrap_or(now);
    let nanos = over.as_nanos().max(1);
    u64::try_from(u128::from(grown) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Everything that `levee status` says.
pub fn status(status: &Status) -> String {
    let mut text = controller(status);
    text += &alarms(&status.total);
    for warning in &status.controller.warnings {
        text += &format!("WARNING: {warning}\n");
    }
    if let Some(policy) = &status.policy {
        let rules = if policy.rules == 1 { "rule" } else { "rules" };
        let trial =
            policy.confirm_until.map_or_else(String::new, |until| format!(", on trial until {until}"));
        text += &format!(
            "policy {}: {} {rules}, default {}{trial}\n",
            policy.number,
            grouped(policy.rules),
            policy.default
        );
    }
    if status.interfaces.is_empty() {
        text += "interfaces: none; `levee attach IFACE` puts the filter on one\n";
    } else {
        text.push('\n');
        text += &interfaces(&status.interfaces);
    }
    if let Some(tables) = &status.tables {
        text.push('\n');
        text += &self::tables(tables);
    }
    if let Some(memory) = &status.memory {
        let [now, limit] = [memory.tables, memory.limit].map(size);
        text += &format!("kernel memory of the tables: {now}, the limit is {limit}\n");
    }
    if let Some(sets) = &status.sets {
        text.push('\n');
        text += &self::sets(sets, status.removed_sets.unwrap_or_default());
    }
    text
}

/// What there is to say where a daemon runs, of that number, and does not answer here.
pub fn without_socket(pid: Option<u32>) -> Option<String> {
    let pid = pid?;
    Some(format!(
        "controller: process {pid} owns the filter, and does not answer on this socket (another one: --socket; one \
         that was removed is made again within a second or so)\n"
    ))
}

fn controller(status: &Status) -> String {
    let controller = &status.controller;
    if !controller.running {
        if let Some(owner) = without_socket(controller.pid) {
            return owner;
        }
        return "controller: not running; what is attached goes on with its last tables, of which nothing expires \
                until it runs again; a policy on trial goes back by itself\n"
            .to_owned();
    }
    let mut text = "controller: running".to_owned();
    if let Some(pid) = controller.pid {
        text += &format!(", pid {pid}");
    }
    if let Some(version) = &controller.version {
        text += &format!(", version {version}");
    }
    text += &format!(", ABI {}", controller.abi_version);
    if let Some(started) = controller.started {
        let up = status.time.0.duration_since(started.0).unwrap_or_default();
        text += &format!(", up {}", humantime::format_duration(Duration::from_secs(up.as_secs())));
    }
    if let Some(dir) = &controller.state_dir {
        text += &format!(", state in {dir}");
    }
    text + "\n"
}

/// What an interface is called, also when it is not here.
pub fn interface_name(name: Option<&str>, attached_as: &str, place: Place) -> String {
    match (name, place) {
        (Some(name), _) => name.to_owned(),
        (None, Place::Elsewhere) => format!("{attached_as} (in another namespace)"),
        (None, Place::Here | Place::Gone) => format!("{attached_as} (gone)"),
    }
}

fn interfaces(interfaces: &[Interface]) -> String {
    let header = [
        "INTERFACE",
        "MODE",
        ">PROGRAM",
        ">GENERATION",
        ">RECEIVED",
        ">PASSED",
        ">DROPPED",
        "ATTACHED",
        "CHECKS",
    ];
    aligned(
        &header,
        interfaces.iter().map(|interface| {
            vec![
                interface_name(interface.name.as_deref(), &interface.attached_as, interface.place),
                interface.mode.map_or("unknown", Mode::name).to_owned(),
                interface.program_id.to_string(),
                interface.generation.to_string(),
                grouped(interface.traffic.rx.packets),
                grouped(interface.traffic.pass.packets),
                grouped(interface.traffic.drop.packets),
                interface.attached_at.to_string(),
                checks(interface),
            ]
        }),
    )
}

fn checks(interface: &Interface) -> String {
    let mut on = Vec::new();
    for (name, is_on) in [
        ("bad-tcp-flags", interface.checks.bad_tcp_flags),
        ("bogon-source", interface.checks.bogon_source),
        ("drop-fragments", interface.checks.fragments == crate::api::types::Fragments::Drop),
        ("jumbo", interface.frags),
        ("asked", interface.notes),
    ] {
        if is_on {
            on.push(name);
        }
    }
    on.join(",")
}

fn tables(tables: &[TableStatus]) -> String {
    aligned(
        &["TABLE", "FAMILY", ">PREFIXES"],
        tables.iter().map(|table| vec![table.kind.clone(), table.family.clone(), grouped(table.entries)]),
    )
}

/// The sets, one a line.
pub fn sets(sets: &[SetSummary], removed: Count) -> String {
    let removed = if removed.packets == 0 {
        String::new()
    } else {
        format!("sets that have been removed dropped {} packets\n", grouped(removed.packets))
    };
    if sets.is_empty() {
        return "sets: none; `levee block add` or `levee set import` makes one\n".to_owned() + &removed;
    }
    let listed = aligned(
        &["SET", "ACTION", ">IPV4", ">IPV6", ">DROPPED", "CHANGED"],
        sets.iter().map(|set| {
            vec![
                set.name.clone(),
                set.action.name().to_owned(),
                grouped(set.ipv4),
                grouped(set.ipv6),
                grouped(set.dropped.packets),
                set.changed.to_string(),
            ]
        }),
    );
    listed + &removed
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use filter_common::counters::Counters;

    use super::*;
    use crate::api::types::{ControllerStatus, Memory, PolicyInForce, SCHEMA, Timestamp};

    fn some_traffic(blocked: u64) -> Traffic {
        let mut counters = Counters::default();
        counters.0[Reason::NoMatch as usize].packets = 10;
        counters.0[Reason::NoMatch as usize].bytes = 600;
        counters.0[Reason::BlockedSource as usize].packets = blocked;
        counters.0[Reason::BlockedSource as usize].bytes = blocked * 60;
        Traffic::from(&counters)
    }

    #[test]
    fn figures_have_separators_and_units() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(scaled(999, "B"), "999 B");
        assert_eq!(scaled(74_074_020, "B"), "74.1 MB");
        assert_eq!(scaled(1_500, "bit"), "1.50 kbit");
    }

    #[test]
    fn a_single_address_is_shown_without_its_length() {
        assert_eq!(prefix(&"192.0.2.1/32".parse().unwrap()), "192.0.2.1");
        assert_eq!(prefix(&"2001:db8::/32".parse().unwrap()), "2001:db8::/32");
    }

    #[test]
    fn reasons_stand_under_their_verdict_and_zero_reasons_are_left_out() {
        let expected = [
            "                    PACKETS    BYTES",
            "received          1,234,577  74.1 MB",
            "passed                   10    600 B",
            "  no_match               10    600 B",
            "dropped           1,234,567  74.1 MB",
            "  blocked_source  1,234,567  74.1 MB",
        ];
        let text = traffic(&some_traffic(1_234_567), None);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rates_are_growth_by_second_and_survive_a_new_attachment() {
        assert_eq!(per_second(3000, 1000, Duration::from_secs(2)), 1000);
        assert_eq!(per_second(500, 1000, Duration::from_millis(500)), 1000);
        let text = traffic(&some_traffic(2000), Some((&some_traffic(1000), Duration::from_secs(1))));
        assert!(text.lines().next().unwrap().ends_with("PACKETS/S     BIT/S"), "{text}");
        assert!(text.lines().last().unwrap().ends_with("1,000  480 kbit"), "{text}");
    }

    fn some_status(running: bool) -> Status {
        let memory = Memory { tables: 6 << 20, limit: 512 << 20 };
        let controller = ControllerStatus {
            running,
            pid: None,
            version: None,
            started: None,
            abi_version: 2,
            state_dir: None,
            warnings: Vec::new(),
        };
        Status {
            schema: SCHEMA,
            time: Timestamp(SystemTime::UNIX_EPOCH),
            controller,
            interfaces: Vec::new(),
            total: some_traffic(0),
            policy: None,
            tables: running.then(Vec::new),
            memory: running.then_some(memory),
            sets: None,
            removed_sets: None,
        }
    }

    #[test]
    fn the_status_shows_the_memory_of_the_tables_and_its_limit() {
        let text = status(&some_status(true));
        assert!(text.contains("\nkernel memory of the tables: 6 MiB, the limit is 512 MiB\n"), "{text}");
    }

    #[test]
    fn the_status_shows_the_policy_in_force() {
        let confirm_until = Some(Timestamp(SystemTime::UNIX_EPOCH));
        let policy = PolicyInForce { number: 7, default: "drop".to_owned(), rules: 1, confirm_until };
        let text = status(&Status { policy: Some(policy), ..some_status(true) });
        assert!(
            text.contains("policy 7: 1 rule, default drop, on trial until 1970-01-01T00:00:00Z\n"),
            "{text}"
        );
        assert!(!status(&some_status(true)).contains("policy"));
    }

    #[test]
    fn without_a_controller_the_status_says_that_nothing_expires() {
        let text = status(&some_status(false));
        assert!(text.contains("not running") && text.contains("nothing expires"), "{text}");
        assert!(!text.contains("kernel memory"), "{text}");
    }

    #[test]
    fn an_internal_error_is_alarmed() {
        assert_eq!(alarms(&some_traffic(1)), "");
        let mut counters = Counters::default();
        counters.count(Reason::InternalError, 60);
        assert!(alarms(&Traffic::from(&counters)).contains("ALARM: 1 packets"));
    }

    #[test]
    fn control_characters_of_a_reason_do_not_reach_the_terminal() {
        assert_eq!(truncated("a\x1b[31mb\nc"), "a [31mb c");
        assert_eq!(truncated(&"x".repeat(100)).chars().count(), 61);
    }
}

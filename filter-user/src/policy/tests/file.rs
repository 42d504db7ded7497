//! The file around the rules.

use std::path::Path;
use std::time::Duration;

use super::*;

/// The text at the places of a file's errors.
fn places(text: &str) -> Vec<&str> {
    let errors = Policy::parse("policy.toml", text).unwrap_err();
    errors.as_slice().iter().map(|error| &text[error.span.start..error.span.end]).collect()
}

#[test]
fn an_empty_file_passes_everything() {
    let checked = file("");
    assert_eq!(checked.policy, Policy::default());
    assert_eq!(checked.policy.default, Verdict::Pass);
    assert_eq!(checked.policy.fragments, Verdict::Pass);
}

#[test]
fn all_settings_are_read() {
    let text = r#"
        default = "drop"
        fragments = "drop"
        protect = ["192.0.2.0/24", "::1", "192.0.2.0/24"]
        [daemon]
        socket = "/run/x.sock"
        state-dir = "/var/lib/x"
        bpffs = "/sys/fs/bpf/x"
        max-memory = "1GiB"
        [[interface]]
        name = "eth0"
        [[interface]]
        name = "lo"
        mode = "generic"
        skip-checks = ["bogon-source"]
        [set.a]
        [set."b.1"]
        action = "allow-destination"
        max-entries = 100_000
        max-change = "30%"
    "#;
    let policy = file(text).policy;
    assert_eq!((policy.default, policy.fragments), (Verdict::Drop, Verdict::Drop));
    assert_eq!(policy.protect, ["192.0.2.0/24".parse().unwrap(), "::1/128".parse().unwrap()]);
    let DaemonSettings { socket, state_dir, bpffs, max_memory } = &policy.daemon;
    assert_eq!(socket.as_deref(), Some(Path::new("/run/x.sock")));
    assert_eq!(state_dir.as_deref(), Some(Path::new("/var/lib/x")));
    assert_eq!(bpffs.as_deref(), Some(Path::new("/sys/fs/bpf/x")));
    assert_eq!(*max_memory, Some(1 << 30));
    let interface = |name, mode, bogon_source| InterfaceEntry {
        name: InterfaceName::new(name).unwrap(),
        mode,
        bad_tcp_flags: true,
        bogon_source,
    };
    let expected =
        [interface("eth0", InterfaceMode::Native, true), interface("lo", InterfaceMode::Generic, false)];
    assert_eq!(policy.interfaces, expected);
    let name = |text| SetName::try_from(text).unwrap();
    assert_eq!(policy.sets[&name("a")], SetEntry::default());
    let b = SetEntry {
        action: Some(SetKind::AllowDestination),
        max_entries: Some(100_000),
        max_change: Ratio::new(3, 10),
    };
    assert_eq!(policy.sets[&name("b.1")], b);
    assert_eq!(file("[daemon]\nmax-memory = 8388608").policy.daemon.max_memory, Some(8 << 20));
}

#[test]
fn rules_keep_their_order_and_get_names_by_their_place() {
    let text = "
rules = ['drop udp', '''
# first a comment

pass tcp name web
ban 5m
''']
[[rule]]
rule = 'count'
[[rule]]
action = 'pass'
";
    let policy = file(text).policy;
    let rules: Vec<String> = policy.rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["drop udp", "pass tcp name web", "ban 5m", "count", "pass"]);
    let names: Vec<_> = (0..5).map(|index| policy.rule_name(index)).collect();
    assert_eq!(names, ["rule-1", "web", "rule-3", "rule-4", "rule-5"]);
    assert_eq!(policy.rules[2].action, Action::Ban(Duration::from_secs(300)));
}

#[test]
fn places_in_strings_of_every_kind_are_those_of_the_file() {
    assert_eq!(places("rules = '''\npass\n  drop dport 70000 # x\n'''\n"), ["70000"]);
    assert_eq!(
        places("rules = \"\"\"\npass\ndrop name \\\"a b\\\" \\\n   dport 70000\n\"\"\"\n"),
        ["\\\"a b\\\"", "70000"]
    );
    assert_eq!(places("rules = \"\"\"\r\npass\r\ndrop dport 70000\r\n\"\"\"\r\n"), ["70000"]);
    assert_eq!(places("[[rule]]\nrule = \"drop \\u0064prt 5\"\n"), ["\\u0064prt"]);
    assert_eq!(places("[[rule]]\nrule = \"\"\"drop\n  udp # why\n  dprt 5\"\"\"\n"), ["dprt"]);
    assert_eq!(places("rules = ['pass', 'dorp']\n[[rule]]\nrule='é dport'\n"), ["dorp", "é", ""]);
    assert_eq!(
        places("[[rule]]\naction = 'drop'\nmatch = { sport = ['1', '80-x'], dport = 0x10000 }\n"),
        ["x", "0x10000"]
    );
    let errors = Policy::parse("policy.toml", "rules = '''\n  é dorp\n'''\n").unwrap_err();
    assert!(errors.to_string().starts_with("policy.toml:2:3: "), "{errors}");
    let errors = Policy::parse("policy.toml", "rules = '''\npass\n drop udp dprt 1\n'''\n").unwrap_err();
    let one_line =
        "policy.toml:3:11: unknown match \"dprt\", expected a match or an option; did you mean `dport`?";
    assert_eq!(errors.to_string(), one_line);
    assert!(errors.render(Drawing::Plain).contains("[policy.toml:3:11]"));
}

#[test]
fn where_rules_stand_is_known_in_every_spelling() {
    let text =
        "rules = '''\ndrop udp dport 53 name a\n'''\n[[rule]]\naction = 'pass'\nmatch = { saddr = '@a' }\n";
    let checked = file(text);
    let at = |span: Span| &text[span.start..span.end];
    assert_eq!(at(checked.spans[0].rule), "drop udp dport 53 name a");
    assert_eq!(at(checked.spans[0].action), "drop");
    assert_eq!(at(checked.spans[0].field(Field::DestinationPort)), "dport 53");
    assert_eq!(at(checked.spans[0].field(Field::Protocol)), "udp");
    assert_eq!(at(checked.spans[0].name.unwrap()), "a");
    assert_eq!(at(checked.spans[1].rule), "'pass'\nmatch = { saddr = '@a' }");
    assert_eq!(at(checked.spans[1].field(Field::Source)), "'@a'");
}

#[test]
fn all_errors_of_a_file_are_told_in_the_order_of_the_text() {
    let text = "defalt = 'drop'\nrules = '''\ndorp\ndrop dport 70000 sport {x, 80000}\n'''\n[daemon]\nsocket = 1\n[[rule]]\n";
    assert_eq!(places(text), ["defalt", "dorp", "70000", "x", "80000", "1", "[[rule]]"]);
}

#[test]
fn behind_an_error_of_toml_only_what_stands_before_it_is_told() {
    assert_eq!(places("rules = 'dorp'\n[daemon\nsocket = 1\n[[rule]]\nrule = 'dorp'\n"), ["dorp", ""]);
    assert_eq!(places("a = \nb = \n").len(), 2);
}

#[test]
fn sets_that_nothing_declares_are_told_with_the_rule_that_uses_them() {
    let text = "rules = '''\npass saddr @monitoring\ndrop daddr != @here\ndrop saddr @montoring\n'''\n[set.monitoring]\n";
    let checked = file(text);
    let used: Vec<_> =
        checked.policy.sets_used().map(|used| (used.set.as_str(), used.rule, used.field)).collect();
    assert_eq!(
        used,
        [("monitoring", 0, Field::Source), ("here", 1, Field::Destination), ("montoring", 2, Field::Source),]
    );
    let known = BTreeSet::from([SetName::try_from("here").unwrap()]);
    let errors = checked.require_sets(&known).unwrap_err().to_string();
    assert_eq!(errors, "policy.toml:4:6: there is no set `montoring`; did you mean `monitoring`?");
    let all = BTreeSet::from(["here", "montoring"].map(|name| SetName::try_from(name).unwrap()));
    assert_eq!(checked.require_sets(&all), Ok(()));
}

#[test]
fn a_policy_has_at_most_4096_rules_and_8_mebibytes() {
    let rules = |count: usize| format!("rules = '''\n{}'''\n", "count\n".repeat(count));
    assert_eq!(file(&rules(MAX_RULES)).policy.rules.len(), MAX_RULES);
    let errors = Policy::parse("x", &rules(MAX_RULES + 1)).unwrap_err().to_string();
    assert!(errors.starts_with("x:4098:1: found more than 4096 rules"), "{errors}");
    let errors = Policy::parse_rules("x", &"count\n".repeat(MAX_RULES + 1)).unwrap_err().to_string();
    assert!(errors.starts_with("x:4097:1: found more than 4096 rules"), "{errors}");
    assert!(Policy::parse("x", &" ".repeat(MAX_TEXT)).is_ok());
    assert!(Policy::parse("x", &" ".repeat(MAX_TEXT + 1)).is_err());
}

#[test]
fn one_rule_alone_may_go_over_lines_but_not_be_two() {
    assert_eq!(rule("drop # why\n udp"), rule("drop udp"));
    assert!("drop udp\npass tcp".parse::<Rule>().is_err());
    assert!("# nothing".parse::<Rule>().is_err());
}

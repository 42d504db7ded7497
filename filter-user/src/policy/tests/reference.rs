//! The examples of `POLICY.md`, and what it says of names and keys.

use super::super::names;
use super::*;

const REFERENCE: &str = include_str!("../../../../POLICY.md");

/// The fenced blocks of that kind in a document, with the line that each begins at.
pub fn blocks(document: &str, kind: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in document.lines().enumerate() {
        match &mut open {
            Some(block) if line == "```" => blocks.push(std::mem::take(block)),
            Some((_, text)) => *text += &format!("{line}\n"),
            None if line == format!("```{kind}") => open = Some((number + 2, String::new())),
            None => {}
        }
        if line == "```" {
            open = None;
        }
    }
    blocks
}

#[test]
fn every_example_of_the_reference_is_accepted() {
    let files = blocks(REFERENCE, "toml");
    let lines = blocks(REFERENCE, "levee");
    assert!(files.len() >= 3 && lines.len() >= 3, "{} and {} examples", files.len(), lines.len());
    for (line, text) in files {
        let name = format!("POLICY.md line {line}");
        if let Err(errors) = Policy::parse(&name, &text) {
            panic!("{}", errors.render(Drawing::Plain));
        }
    }
    for (line, text) in lines {
        let name = format!("POLICY.md line {line}");
        match Policy::parse_rules(&name, &text) {
            Ok(checked) => assert!(!checked.policy.rules.is_empty()),
            Err(errors) => panic!("{}", errors.render(Drawing::Plain)),
        }
    }
}

#[test]
fn the_reference_names_every_match_and_every_name() {
    let all = [
        &names::ETHER_TYPES,
        &names::PROTOCOLS,
        &names::ICMP_TYPES,
        &names::ICMPV6_TYPES,
        &names::TCP_FLAGS,
        &names::EXTENSION_HEADERS,
        &names::FRAGMENTS,
    ];
    let words = Field::ALL.map(Field::words).into_iter().chain(Field::ALL.map(Field::key));
    let names = all.into_iter().flat_map(names::Names::all);
    // Spellings that are taken and not advertised.
    for word in words.chain(names).filter(|word| !matches!(*word, "ipv4" | "ipv6")) {
        let there = REFERENCE.contains(&format!("`{word}`")) || REFERENCE.contains(&format!("`{word} at N`"));
        assert!(there, "POLICY.md does not name `{word}`");
    }
}

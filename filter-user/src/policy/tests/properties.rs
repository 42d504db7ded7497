//! What holds for every rule and every text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::arbitrary::{any_rule, related_rules};
use super::packets::{any_packet, matches};
use super::*;

/// Words that rules and files are made of.
const WORDS: &str = "\
    drop pass limit 1000/s burst per source/24 ban 10m sample 1/64 redirect eth0 saddr 192.0.2.0/24 \
    2001:db8::/32 @set { } , != not >= < tcp udp icmp type code sport dport 53 80-90 99999 flags \
    syn/syn,ack / payload at 0x11/0xf0 probability 10% name mode count ''' é rules = [[rule]] [daemon] \
    match action [ ] ether src 02:00:00:00:00:01 vlan fragment later exthdr ttl";

/// Those with blanks, escapes or quotation marks.
const ODD: [&str; 11] =
    ["\"x\"", "#", "\n", "\"", "\"\"\"", "\\", "\\u00e9", "\r\n", "\t", "\u{0}", "\u{2028}"];

/// Words in no sensible order.
fn soup() -> impl Strategy<Value = String> {
    let word = prop_oneof![4 => select(WORDS.split(' ').collect::<Vec<_>>()), 1 => select(ODD.to_vec())];
    let glue = select(vec![" ", "", " = "]);
    vec((word, glue), 0..24)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(word, glue)| [word, glue]).collect())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), soup(), soup().prop_map(|text| format!("rules = \"\"\"\n{text}\"\"\"\n"))]
}

/// Every place of the errors lies in the text, between characters, and can be drawn.
fn places_are_sound(text: &str, errors: &PolicyErrors) -> Result<(), TestCaseError> {
    for error in errors.as_slice() {
        let related = error.related.iter().map(|related| related.span);
        for span in std::iter::once(error.span).chain(related) {
            prop_assert!(span.start <= span.end && span.end <= text.len(), "{:?}", error);
            prop_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{:?}", error);
        }
        let drawing = error.render(Drawing::Plain);
        prop_assert!(drawing.contains("policy:") || drawing.contains("rule:"), "{}", drawing);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_text_of_a_rule_reads_as_that_rule(expected in any_rule()) {
        let text = expected.to_string();
        let read: Result<Rule, PolicyErrors> = text.parse();
        prop_assert_eq!(read.as_ref(), Ok(&expected), "{}", text);
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        let checked = Policy::parse("policy", &format!("[[rule]]\nrule = \"{escaped}\"\n"));
        prop_assert_eq!(checked.map(|checked| checked.policy.rules), Ok(vec![expected]));
    }

    #[test]
    fn no_text_is_too_odd_to_be_read_or_refused(text in any_text()) {
        for read in [Policy::parse, Policy::parse_rules] {
            if let Err(errors) = read("policy", &text) {
                places_are_sound(&text, &errors)?;
            }
        }
        if let Err(errors) = text.parse::<Rule>() {
            places_are_sound(&text, &errors)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_called_unreachable_is_never_reached(
        (first, second) in related_rules(),
        packets in vec(any_packet(), 100),
    ) {
        let text = [first.to_string(), second.to_string()];
        let checked = Policy::parse_rules("policy", &text.join("\n")).unwrap();
        for warning in &checked.warnings {
            let rule = if warning.position().line > 1 { &second } else { &first };
            for packet in &packets {
                // What is up to chance goes against the claim.
                let reached = matches(rule, packet, true);
                match &warning.kind {
                    Notice::Unreachable { .. } => {
                        prop_assert!(!reached || matches(&first, packet, false), "{:?} {:?}", text, packet);
                    }
                    Notice::NeverMatches { .. } => prop_assert!(!reached, "{:?} {:?}", text, packet),
                    _ => {}
                }
            }
        }
    }
}

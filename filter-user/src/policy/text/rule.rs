//! One rule: its action, then its matches and options in any order.

use crate::feeds::Quoted;
use crate::policy::ast::{Field, Mode, Negatable, Test};
use crate::policy::draft::{Draft, Located};
use crate::policy::error::Fault;
use crate::policy::names::PROTOCOLS;
use crate::policy::problem::Findings;
use crate::policy::ranges::Ranges;
use crate::policy::source::Span;
use crate::policy::value::RuleName;

use super::action::{self, ACTIONS};
use super::cursor::{Cursor, Parsed, Stop};
use super::fields;
use super::lexer::{Kind, Token};

/// What a word at the beginning of a match or option says.
#[derive(Clone, Copy)]
enum Clause {
    Field(Field),
    /// `ether`, before `src`, `dst` or `type`.
    Ether,
    /// `ip` or `ip6`: the EtherType.
    Family(u16),
    /// `tcp` and the like.
    Protocol(u8),
    /// `type` or `code`, behind `icmp` or `icmpv6`.
    Icmp {
        code: bool,
    },
    /// `unasked`, or `asked`, which negates it.
    Unasked {
        negated: bool,
    },
    /// `unclaimed`, or `claimed`.
    Unclaimed {
        negated: bool,
    },
    Name,
    Mode,
}

/// The words that begin a clause, but for the names of protocols.
const CLAUSES: [(&str, Clause); 27] = [
    ("iif", Clause::Field(Field::Interface)),
    ("ether", Clause::Ether),
    ("vlan", Clause::Field(Field::Vlan)),
    ("ip", Clause::Family(0x0800)),
    ("ip6", Clause::Family(0x86dd)),
    ("saddr", Clause::Field(Field::Source)),
    ("daddr", Clause::Field(Field::Destination)),
    ("proto", Clause::Field(Field::Protocol)),
    ("sport", Clause::Field(Field::SourcePort)),
    ("dport", Clause::Field(Field::DestinationPort)),
    ("flags", Clause::Field(Field::TcpFlags)),
    ("type", Clause::Icmp { code: false }),
    ("code", Clause::Icmp { code: true }),
    ("length", Clause::Field(Field::Length)),
    ("ttl", Clause::Field(Field::Ttl)),
    ("hoplimit", Clause::Field(Field::Ttl)),
    ("dscp", Clause::Field(Field::Dscp)),
    ("fragment", Clause::Field(Field::Fragment)),
    ("exthdr", Clause::Field(Field::ExtensionHeader)),
    ("unasked", Clause::Unasked { negated: false }),
    ("asked", Clause::Unasked { negated: true }),
    ("unclaimed", Clause::Unclaimed { negated: false }),
    ("claimed", Clause::Unclaimed { negated: true }),
    ("payload", Clause::Field(Field::Payload)),
    ("probability", Clause::Field(Field::Probability)),
    ("name", Clause::Name),
    ("mode", Clause::Mode),
];

fn clause(word: &str) -> Option<Clause> {
    let listed = CLAUSES.iter().find(|(known, _)| *known == word).map(|(_, clause)| *clause);
    listed.or_else(|| {
        let protocol = PROTOCOLS.number(word).and_then(|number| u8::try_from(number).ok());
        protocol.map(Clause::Protocol)
    })
}

/// The rule that `tokens` are, which are not empty; `None` where something is wrong with it, and noted.
pub(in crate::policy) fn rule(tokens: &[Token<'_>], findings: &mut Findings) -> Option<Located> {
    let (first, last) = tokens.first().zip(tokens.last())?;
    let whole = first.span.to(last.span);
    let mut draft = Draft::default();
    let sound = fill(tokens, whole, &mut draft, findings).is_ok();
    draft.finish(whole, findings).filter(|_| sound)
}

/// Puts into `draft` what the tokens, which stand at `whole`, say.
pub(in crate::policy) fn fill(
    tokens: &[Token<'_>],
    whole: Span,
    draft: &mut Draft,
    findings: &mut Findings,
) -> Parsed<()> {
    let mut cursor = Cursor::new(tokens, whole, findings);
    let mut outcome = leading_action(&mut cursor, draft);
    let mut icmp = None;
    while let Some(token) = cursor.next() {
        if let Err(stop) = one_clause(token, &mut cursor, draft, &mut icmp) {
            outcome = Err(stop);
            cursor.skip_to(|word| clause(word).is_some());
        }
    }
    outcome
}

/// The action, which comes first.
fn leading_action(cursor: &mut Cursor<'_, '_>, draft: &mut Draft) -> Parsed<()> {
    let Some(first) = cursor.peek() else { return Err(cursor.unexpected("an action")) };
    if clause(&first.text).is_some() && first.kind == Kind::Word {
        let fault = Fault::unexpected(Quoted::new(&first.text), "an action");
        let hint = format!("the action comes first, as in `drop {} ...`", first.text);
        return Err(cursor.fail(fault.with_hint(hint), first.span));
    }
    match action::action(cursor) {
        Ok(action) => {
            let span = cursor.since(first.span);
            draft.action(Some(action), span, cursor.findings);
            Ok(())
        }
        Err(Stop) => {
            // What follows may be sound; the word that should be the action is not looked at again.
            draft.action(None, first.span, cursor.findings);
            if cursor.peek().is_some_and(|token| token.span == first.span) {
                cursor.next();
            }
            cursor.skip_to(|word| clause(word).is_some());
            Err(Stop)
        }
    }
}

/// The match or option that begins with `token`.
fn one_clause(
    token: &Token<'_>,
    cursor: &mut Cursor<'_, '_>,
    draft: &mut Draft,
    icmp: &mut Option<u8>,
) -> Parsed<()> {
    let Some(clause) = clause(&token.text).filter(|_| token.kind == Kind::Word) else {
        return Err(no_clause(token, cursor, draft));
    };
    let field = match clause {
        Clause::Field(field) => field,
        Clause::Ether => ether(cursor)?,
        Clause::Icmp { code } => icmp_field(token, *icmp, code, cursor)?,
        Clause::Protocol(protocol) => {
            if matches!(protocol, 1 | 58) {
                *icmp = Some(protocol);
            }
            draft.add_protocol(protocol, token.span, cursor.findings);
            return Ok(());
        }
        Clause::Family(ether_type) => {
            let value = Test::EtherType(Ranges::one(ether_type));
            let condition = Negatable { negated: false, value };
            draft.add(condition, token.span, cursor.findings);
            return Ok(());
        }
        Clause::Unasked { negated } => {
            draft.add(Negatable { negated, value: Test::Unasked }, token.span, cursor.findings);
            return Ok(());
        }
        Clause::Unclaimed { negated } => {
            draft.add(Negatable { negated, value: Test::Unclaimed }, token.span, cursor.findings);
            return Ok(());
        }
        Clause::Name => {
            let (name, span) = name(cursor)?;
            draft.name(name, span, cursor.findings);
            return Ok(());
        }
        Clause::Mode => {
            let (mode, span) = mode(cursor)?;
            draft.mode(mode, span, cursor.findings);
            return Ok(());
        }
    };
    let condition = fields::condition(cursor, field)?;
    if let (false, Test::Protocol(protocols)) = (condition.negated, &condition.value) {
        // `proto icmp type 8` says which types are meant as well as `icmp type 8` does.
        *icmp = [1, 58].into_iter().find(|number| *protocols == Ranges::one(*number)).or(*icmp);
    }
    let span = cursor.since(token.span);
    draft.add(condition, span, cursor.findings);
    Ok(())
}

fn ether(cursor: &mut Cursor<'_, '_>) -> Parsed<Field> {
    let fields = [
        ("src", Field::EtherSource),
        ("dst", Field::EtherDestination),
        ("type", Field::EtherType),
        ("saddr", Field::EtherSource),
        ("daddr", Field::EtherDestination),
    ];
    for (word, field) in fields {
        if cursor.take_word(word).is_some() {
            return Ok(field);
        }
    }
    Err(cursor.unexpected("`src`, `dst` or `type` behind `ether`"))
}

fn icmp_field(
    token: &Token<'_>,
    protocol: Option<u8>,
    code: bool,
    cursor: &mut Cursor<'_, '_>,
) -> Parsed<Field> {
    match (protocol, code) {
        (Some(1), false) => Ok(Field::IcmpType),
        (Some(1), true) => Ok(Field::IcmpCode),
        (Some(_), false) => Ok(Field::Icmpv6Type),
        (Some(_), true) => Ok(Field::Icmpv6Code),
        (None, _) => {
            let word = &token.text;
            let fault = Fault::unexpected(Quoted::new(word), "`icmp` or `icmpv6` before it");
            let hint =
                if code { "write `icmp code ...`" } else { "write `icmp type ...` or `ether type ...`" };
            Err(cursor.fail(fault.with_hint(hint), token.span))
        }
    }
}

/// That no clause begins with `token`.
fn no_clause(token: &Token<'_>, cursor: &mut Cursor<'_, '_>, draft: &mut Draft) -> Stop {
    let found = Quoted::new(&token.text);
    let words = CLAUSES.into_iter().map(|(word, _)| word).chain(PROTOCOLS.all());
    let fault = match token.kind {
        Kind::Word if ACTIONS.contains(&&*token.text) => {
            if !draft.has_action() {
                // Said at the beginning of the rule, where it is missing.
                draft.action(None, token.span, cursor.findings);
                return Stop;
            }
            let fault = Fault::unexpected(found, "one action, at the beginning of the rule");
            fault.with_hint("write a rule for each action")
        }
        Kind::Word => Fault::unknown("match", &token.text, "a match or an option", words),
        Kind::Not => Fault::unexpected(found, "a match").with_hint("negate the value: `saddr != @set`"),
        Kind::Stray if token.text == "\"" => Fault::unexpected(found, "a match or an option")
            .with_hint("quoted text ends with a second quotation mark"),
        _ => Fault::unexpected(found, "a match or an option"),
    };
    cursor.fail(fault, token.span)
}

/// The name of a rule.
pub(in crate::policy) fn name(cursor: &mut Cursor<'_, '_>) -> Parsed<(RuleName, Span)> {
    let expected = "a name of 1 to 63 letters, digits, `_`, `.` and `-`";
    let word = cursor.text(expected)?;
    let Some(name) = RuleName::new(&word.text) else {
        return Err(cursor.fail(Fault::unexpected(Quoted::new(&word.text), expected), word.span));
    };
    if is_automatic(name.as_str()) {
        let fault = Fault::unexpected(Quoted::new(&word.text), "a name of its own");
        let fault = fault.with_hint("`rule-` and a number is what rules without a name are called");
        return Err(cursor.fail(fault, word.span));
    }
    Ok((name, word.span))
}

fn is_automatic(name: &str) -> bool {
    let number = name.strip_prefix("rule-");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `enforce` or `count`.
pub(in crate::policy) fn mode(cursor: &mut Cursor<'_, '_>) -> Parsed<(Mode, Span)> {
    let expected = "`enforce` or `count`";
    let word = cursor.text(expected)?;
    let modes = [Mode::Enforce, Mode::Count];
    match modes.into_iter().find(|mode| mode.name() == word.text) {
        Some(mode) => Ok((mode, word.span)),
        None => {
            let suggestion = match &*word.text {
                "shadow" | "dry-run" | "monitor" => Some("count"),
                _ => None,
            };
            let known = modes.into_iter().map(Mode::name);
            let fault = Fault::unknown("mode", &word.text, expected, known).or_rather(suggestion);
            Err(cursor.fail(fault, word.span))
        }
    }
}

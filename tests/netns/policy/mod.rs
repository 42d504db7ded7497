//! Policies through the daemon: checked, applied, confirmed, taken back; and what a kill leaves of each step.

pub mod crash;
pub mod lockout;
pub mod use_of;

use anyhow::{Context as _, Result, ensure};
use filter_user::api::types::{PolicyList, PolicyText, RuleList};
use harness::Levee;

/// The number of the policy in force.
fn in_force(levee: &Levee) -> Result<Option<u32>> {
    let shown: PolicyText = serde_json::from_value(levee.json(&["policy", "show"])?)?;
    Ok(shown.policy.map(|policy| policy.number))
}

/// The text of the policy in force; empty where there is none.
fn text_in_force(levee: &Levee) -> Result<String> {
    let shown: PolicyText = serde_json::from_value(levee.json(&["policy", "show"])?)?;
    Ok(shown.text)
}

fn history(levee: &Levee) -> Result<PolicyList> {
    Ok(serde_json::from_value(levee.json(&["policy", "list"])?)?)
}

fn rules(levee: &Levee) -> Result<RuleList> {
    Ok(serde_json::from_value(levee.json(&["rules"])?)?)
}

/// Packets that the rule of that name counted.
fn hits(levee: &Levee, name: &str) -> Result<u64> {
    let found = rules(levee)?.rules.into_iter().find(|rule| rule.name == name);
    Ok(found.with_context(|| format!("no rule {name}"))?.count.packets)
}

/// A policy of these rules.
fn policy(rules: &str) -> String {
    format!("rules = \"\"\"\n{rules}\n\"\"\"\n")
}

/// A command that is refused with these words and leaves the policy in force and all that are kept as they are.
fn refuses(levee: &Levee, arguments: &[&str], words: &[&str]) -> Result<()> {
    let before = (text_in_force(levee)?, history(levee)?.policies);
    let said = levee.cmd(arguments)?;
    crate::field::refused(&said, words).with_context(|| arguments.join(" "))?;
    let after = (text_in_force(levee)?, history(levee)?.policies);
    ensure!(before == after, "levee {} was refused and changed the policy", arguments.join(" "));
    Ok(())
}

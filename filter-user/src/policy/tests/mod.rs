//! The language as its users see it.

mod arbitrary;
mod compiled;
mod errors;
mod file;
mod kinds;
mod lint;
mod packets;
mod profiles;
mod properties;
mod reference;

use super::*;

/// The rule in a line that is right.
fn rule(text: &str) -> Rule {
    text.parse().unwrap_or_else(|errors: PolicyErrors| panic!("{}", errors.render(Drawing::Plain)))
}

/// The policy in a file that is right.
fn file(text: &str) -> Checked {
    Policy::parse("policy.toml", text).unwrap_or_else(|errors| panic!("{}", errors.render(Drawing::Plain)))
}

/// What is said about a file that is wrong.
fn drawn(text: &str) -> String {
    match Policy::parse("policy.toml", text) {
        Ok(checked) => panic!("accepted: {:?}", checked.policy),
        Err(errors) => errors.render(Drawing::Plain),
    }
}

//! Which rules of an ordered list a packet matches, without trying them one after the other.
//!
//! **What it decides.** [`classify`] turns a packet's [`Facts`] into [`Candidates`]: the rules, in order, whose every
//! condition on a header field holds. [`walk()`] goes along them, checks what only the rule's own [`record`] says (bytes of
//! the payload, chance), and ends at the first that decides. Absent fields and negation were resolved when the policy was
//! compiled ([`compile()`], host only), so that nothing here knows of either.
//!
//! **How.** Each field that some rule looks at has a table from its values to *classes*: values that the same rules accept
//! share one, and class 0 is that of no rule, at which a look-up ends. What follows depends on how many rules there are:
//!
//! * Up to 64: the tables hold the rules themselves, a bit each, in place of a class. The fields' words are ANDed. A field
//!   costs one line, one of 16 bits two ([`Field::is_paged`]), and that is all.
//! * More: fields are combined as long as that is small. A table of all pairs of two fields' classes gives the class of
//!   both, and so on with the next field (recursive flow classification; Gupta and McKeown, 1999). Where such a table would
//!   have more than 65,536 entries, or lead to too many rows, a new *group* of fields begins. Each group ends at a row: a bit
//!   for each rule, and a summary that says which words of it are not zero. The groups' summaries are ANDed, then those
//!   words (Lakshman and Stiliadis, 1998; Baboescu and Varghese, 2001).
//!
//! Bit vectors alone would be simpler. But a rule says nothing about most fields, so most words of most rows are not zero
//! and summaries hide little; each field costs a summary and a row, each from a place whose bounds are checked. Tables alone
//! grow with the product of all classes. With both, most policies end in one to four groups. Each group less saves about
//! 6 ns (a thousand rules on five fields: 44 ns in three groups, 56 in five).
//!
//! **What it trusts.** Lines and geometry come from the compiler; classes of addresses and interfaces from whoever filled
//! the prefix tables and the read-only data. A class that no table has room for, or damaged lines, give wrong rules, but
//! every read is bounded by the array, and every loop by a constant.
//!
//! **What it costs.** Lines read, as the tests count them: with up to 64 rules one or two for each field in use; beyond that
//! one more for each field that is combined with others, then for each group one for the summary (none up to 256 rules) and
//! one for each 256 rules of which some are left; then one for each candidate. What that is in the kernel,
//! `cargo xtask bench --only policies` says.
//!
//! Fields that no rule uses have their bit clear in [`RulesGeometry::used`], which is read-only data of the program: their
//! code is pruned when it is verified. Fields are met in the order of [`Field::ALL`], addresses last, as they need a search:
//! a packet that no rule can match any more spares it.
//!
//! **How the kernel program is to run it.** [`classify`] inlined, [`RulesGeometry`] where it lies (see [`geometry`]). Inlined
//! into a loop, [`Walk::step`] is more than the verifier walks (6.18); as a function of its own that finds the [`Walk`] in an
//! element of a per-CPU array, called in a loop of [`MAX_RULES`] that is a function, too, all of it is some 45,000 steps of
//! the verifier. Where rules are [`simple`], it is to begin with that.

pub mod ether;
pub mod field;
pub mod geometry;
pub mod intervals;
pub mod lookup;
pub mod record;
pub mod simple;
pub mod walk;

#[cfg(any(test, feature = "std"))]
pub mod addresses;
#[cfg(any(test, feature = "std"))]
pub mod compile;
#[cfg(any(test, feature = "std"))]
pub mod spec;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "std"))]
pub use self::compile::{CompileError, Compiled, compile};
pub use self::field::{ABSENT, Facts, Field};
pub use self::geometry::RulesGeometry;
pub use self::lookup::{Candidates, classify};
pub use self::walk::{Effects, Outcome, OutcomeKind, Step, Walk, walk};

/// Rules that a policy can have.
pub const MAX_RULES: u32 = 4096;

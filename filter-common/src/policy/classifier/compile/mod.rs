//! From rules to the lines that the look-up reads: conditions to classes, classes to groups of fields, groups to rows.
//!
//! All of it is built in ordinary memory, so what it takes is known before the kernel is asked for any.

mod conditions;
mod groups;
mod layout;
mod rows;

use std::fmt;

use super::MAX_RULES;
use super::addresses::{AddressClasses, AddressGroup, MAX_CLASSES};
use super::ether;
use super::field::{ASKED, CHANCE, CLAIMED, DEFENDS, ELABORATE, Field, KEYS, PAYLOAD, SAMPLED};
use super::geometry::{
    CLASSES_A_LINE, EtherTable, IntervalTable, MAX_GROUPS, RULES_A_WORD, RulesGeometry, WORDS_A_LINE,
};
use super::intervals::Intervals;
use super::record::{Action, Record};
use super::spec::{AddressTest, RuleSpec, RulesSpec};
use crate::keys::{PrefixV4, PrefixV6};
use crate::table::lines::WORDS;

use self::conditions::{Conditions, EtherClasses};
use self::groups::{MOST_LENIENCY, grouped};
use self::layout::Layout;
use self::rows::{FieldRows, flip};

/// Why rules cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More than [`MAX_RULES`]: so many.
    TooManyRules(usize),
    /// The groups of an address field overlap in more ways than [`MAX_CLASSES`].
    TooManyClasses {
        /// Source or destination.
        field: Field,
        /// Whether it is about IPv6.
        is_v6: bool,
        /// Combinations of groups that cover some address.
        found: usize,
    },
    /// Rules tell more than 65,535 values of the field apart.
    TooManyValues(Field),
    /// A rule, from 0 on, names a group that there is not.
    UnknownGroup {
        /// The rule.
        rule: usize,
        /// The group.
        group: u16,
    },
    /// A rule, from 0 on, has a condition in values on a field of addresses.
    NotValues {
        /// The rule.
        rule: usize,
        /// The field.
        field: Field,
    },
    /// Rules tell many values of many fields apart, in more ways than [`MAX_GROUPS`] groups of fields can hold.
    TooManyGroups,
    /// They take more lines than allowed.
    TooLarge {
        /// Lines that are allowed.
        most: u32,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRules(found) => write!(out, "{found} rules; at most {MAX_RULES} are possible"),
            Self::TooManyClasses { field, is_v6, found } => {
                let end = if *field == Field::Source { "source" } else { "destination" };
                let family = if *is_v6 { "IPv6" } else { "IPv4" };
                write!(
                    out,
                    "the rules' {family} {end} prefixes and sets overlap in {found} ways; at most {MAX_CLASSES} are possible"
                )
            }
            Self::TooManyValues(field) => {
                write!(out, "the rules tell more than 65,535 values of {field:?} apart")
            }
            Self::UnknownGroup { rule, group } => {
                write!(out, "rule {rule} names group {group}, which is not there")
            }
            Self::NotValues { rule, field } => {
                write!(out, "rule {rule} has values for {field:?}, which has addresses")
            }
            Self::TooManyGroups => write!(
                out,
                "the rules tell too many values of too many fields apart; {MAX_GROUPS} groups of fields are possible"
            ),
            Self::TooLarge { most } => write!(out, "the rules take more than {most} lines of 64 bytes"),
        }
    }
}

impl std::error::Error for CompileError {}

/// The classes of addresses in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionClasses {
    /// IPv4.
    pub v4: AddressClasses<PrefixV4>,
    /// IPv6.
    pub v6: AddressClasses<PrefixV6>,
    /// Whether there are any, and none comes or goes while the program runs.
    pub stay: bool,
}

impl DirectionClasses {
    fn new(
        field: Field,
        groups: &[AddressGroup],
        tests: impl Iterator<Item = Option<AddressTest>>,
    ) -> Result<Self, CompileError> {
        let mut used = vec![false; groups.len()];
        for (rule, test) in tests.enumerate() {
            let Some(AddressTest { group, .. }) = test else { continue };
            *used.get_mut(usize::from(group)).ok_or(CompileError::UnknownGroup { rule, group })? = true;
        }
        let numbered = || (0..=u16::MAX).zip(groups).filter(|(number, _)| used[usize::from(*number)]);
        let v4 = numbered().flat_map(|(number, group)| group.v4.iter().map(move |prefix| (*prefix, number)));
        let v6 = numbered().flat_map(|(number, group)| group.v6.iter().map(move |prefix| (*prefix, number)));
        let changes = |group: u16| groups[usize::from(group)].changes;
        let stay = numbered().next().is_some() && !numbered().any(|(number, _)| changes(number));
        let error = |is_v6| move |found| CompileError::TooManyClasses { field, is_v6, found };
        Ok(Self {
            v4: AddressClasses::new(v4.collect(), used.clone(), changes).map_err(error(false))?,
            v6: AddressClasses::new(v6.collect(), used.clone(), changes).map_err(error(true))?,
            stay,
        })
    }
}

/// Rules, ready to be written to where a look-up reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Where everything lies.
    pub geometry: RulesGeometry,
    /// The lines, from [`RulesGeometry::first`] on.
    pub lines: Vec<[u64; WORDS]>,
    /// What the prefix table of the rules' sources is to say.
    pub source: DirectionClasses,
    /// What that of their destinations is to say.
    pub destination: DirectionClasses,
}

/// Compiles rules to at most so many lines, from the line `first` on.
///
/// # Errors
/// [`CompileError`]: what is too much, and how much would be possible.
pub fn compile(spec: &RulesSpec, first: u32, most_lines: u32) -> Result<Compiled, CompileError> {
    check(&spec.rules)?;
    let rules = || spec.rules.iter();
    let source = DirectionClasses::new(Field::Source, &spec.groups, rules().map(|rule| rule.source))?;
    let destination =
        DirectionClasses::new(Field::Destination, &spec.groups, rules().map(|rule| rule.destination))?;
    let ether_source = EtherClasses::new(Field::EtherSource, rules().map(|rule| rule.ether_source.as_ref()))?;
    let ether_destination =
        EtherClasses::new(Field::EtherDestination, rules().map(|rule| rule.ether_destination.as_ref()))?;
    let conditions = Conditions {
        rules: &spec.rules,
        interfaces: spec.interfaces,
        source: &source,
        destination: &destination,
        ether_source: &ether_source,
        ether_destination: &ether_destination,
    };

    let records: Vec<Option<Record>> = rules().map(RuleSpec::record).collect();
    let words = records.len().div_ceil(RULES_A_WORD as usize);
    let mut layout = Layout::new(first, most_lines);
    let mut geometry = RulesGeometry { first, ..RulesGeometry::NONE };
    if words > 0 {
        let mut possible = vec![0; words];
        for (rule, _) in records.iter().enumerate().filter(|(_, record)| record.is_some()) {
            flip(&mut possible, rule);
        }
        // As many as there are rules and words; both were checked.
        geometry.rules = u32::try_from(records.len()).unwrap_or(MAX_RULES);
        geometry.words = geometry.rules.div_ceil(RULES_A_WORD);
        geometry.row_lines = geometry.words.div_ceil(WORDS_A_LINE);
        let fields = used_fields(&conditions, &possible)?;
        geometry.used |= beside_fields(&spec.rules);
        if words == 1 {
            write_words(&fields, &mut geometry, &mut layout)?;
        } else {
            write_groups(&fields, &mut geometry, &mut layout)?;
        }
        geometry.ether_source = write_ether(&ether_source, &mut layout)?;
        geometry.ether_destination = write_ether(&ether_destination, &mut layout)?;
        let records = records.iter().flat_map(|record| record.as_ref().map_or([0; WORDS], Record::words));
        geometry.records = layout.put(records)?;
        // Last, as there is another way where they find no room.
        geometry.source = write_intervals(&source, &mut layout)?;
        geometry.destination = write_intervals(&destination, &mut layout)?;
    }
    geometry.lines = layout.len();
    Ok(Compiled { geometry, lines: layout.lines(), source, destination })
}

fn check(rules: &[RuleSpec]) -> Result<(), CompileError> {
    if rules.len() > MAX_RULES as usize {
        return Err(CompileError::TooManyRules(rules.len()));
    }
    for (rule, spec) in rules.iter().enumerate() {
        for (field, _) in &spec.values {
            if matches!(
                field,
                Field::EtherSource | Field::EtherDestination | Field::Source | Field::Destination
            ) {
                return Err(CompileError::NotValues { rule, field: *field });
            }
        }
    }
    Ok(())
}

/// What rules want of a packet beside its fields, and of the walk.
fn beside_fields(rules: &[RuleSpec]) -> u32 {
    let wants = |rule: &RuleSpec| {
        let by_action = match rule.action {
            Action::Limit | Action::Ban => KEYS | ELABORATE,
            Action::Defend => KEYS | DEFENDS | ELABORATE,
            Action::Sample | Action::Redirect => ELABORATE,
            Action::Drop | Action::Pass | Action::Count => 0,
        };
        let asked = if rule.asked.is_some() { ASKED } else { 0 };
        let chance = if rule.chance.is_some() { CHANCE } else { 0 };
        let claimed = if rule.claimed.is_some() { CLAIMED } else { 0 };
        by_action | asked | claimed | chance | if rule.payload.is_some() { PAYLOAD } else { 0 }
    };
    let of_limits = |rule: &RuleSpec| rule.action == Action::Limit && rule.claimed == Some(false);
    let mut asking = rules.iter().filter(|rule| rule.claimed.is_some()).peekable();
    let sampled = if asking.peek().is_some() && asking.all(of_limits) { SAMPLED } else { 0 };
    rules.iter().fold(sampled, |all, rule| all | wants(rule))
}

/// The fields that some rule looks at. Where there is none, one does for all: rules without conditions have to lie somewhere.
fn used_fields(
    conditions: &Conditions<'_>,
    possible: &[u64],
) -> Result<Vec<(Field, FieldRows)>, CompileError> {
    let mut fields = Vec::new();
    for field in Field::ALL {
        let Some(wanted) = conditions.of(field) else { continue };
        let rows = FieldRows::new(conditions.domain(field), &wanted, possible);
        // Values are told apart by 16 bits, and the empty row takes one of the numbers.
        if rows.rows.len() > 1 << 16 {
            return Err(CompileError::TooManyValues(field));
        }
        fields.push((field, rows));
    }
    if fields.is_empty() {
        fields.push((Field::Shape, FieldRows::new(conditions.domain(Field::Shape), &[], possible)));
    }
    Ok(fields)
}

/// Up to 64 rules: the words themselves stand in the fields' tables.
fn write_words(
    fields: &[(Field, FieldRows)],
    geometry: &mut RulesGeometry,
    layout: &mut Layout,
) -> Result<(), CompileError> {
    for (field, rows) in fields {
        let word = |class: u32| rows.rows.row(class)[0];
        let words: Vec<u64> = rows.classes.iter().map(|class| word(*class)).collect();
        geometry.used |= field.bit();
        let table = &mut geometry.fields[*field as usize];
        table.absent = word(rows.absent);
        table.classes = rows.rows.len();
        layout.put_table(table, *field, &words, WORDS_A_LINE)?;
    }
    Ok(())
}

/// More rules: classes stand in the fields' tables, and fields are combined in groups.
fn write_groups(
    fields: &[(Field, FieldRows)],
    geometry: &mut RulesGeometry,
    layout: &mut Layout,
) -> Result<(), CompileError> {
    for (field, rows) in fields {
        let classes: Vec<u64> = rows.classes.iter().map(|class| u64::from(*class)).collect();
        geometry.used |= field.bit();
        let table = &mut geometry.fields[*field as usize];
        table.absent = rows.absent.into();
        table.classes = rows.rows.len();
        layout.put_table(table, *field, &classes, CLASSES_A_LINE)?;
    }
    let groups = (0..=MOST_LENIENCY).find_map(|leniency| grouped(fields, geometry.row_lines, leniency));
    let groups = groups.ok_or(CompileError::TooManyGroups)?;

    let mut next = 0;
    for group in &groups {
        for (field, pairs) in &group.joined {
            let pairs: Vec<u64> = pairs.iter().map(|class| u64::from(*class)).collect();
            geometry.fields[*field as usize].pairs = layout.put_packed(&pairs, CLASSES_A_LINE)?;
            geometry.joins |= field.bit();
        }
        geometry.ends |= group.end.bit();
        geometry.groups += 1;
        geometry.fields[group.end as usize].rows = next;
        next += group.rows().len();
    }
    let rows = || groups.iter().flat_map(|group| group.rows().iter());
    let summary = |row: &[u64]| (0..).zip(row).fold(0, |bits, (at, word)| bits | u64::from(*word != 0) << at);
    geometry.summaries = layout.put(rows().map(summary))?;
    layout.reserve(u64::from(next) * u64::from(geometry.row_lines))?;
    let row_words = geometry.row_lines as usize * WORDS;
    let padded =
        |row: &[u64]| row.iter().copied().chain(std::iter::repeat(0)).take(row_words).collect::<Vec<_>>();
    geometry.rows = layout.put(rows().flat_map(padded))?;
    Ok(())
}

/// The intervals of addresses that do not change; none where the prefix table has to find them.
fn write_intervals(classes: &DirectionClasses, layout: &mut Layout) -> Result<IntervalTable, CompileError> {
    let intervals = if classes.stay { Intervals::new(classes.v4.prefixes()) } else { None };
    let Some(intervals) = intervals else { return Ok(IntervalTable::NONE) };
    let lines = intervals.lines.len() + intervals.blocks.len().div_ceil(CLASSES_A_LINE as usize);
    if layout.reserve(lines as u64).is_err() {
        // What is too much for them is not too much for the table.
        return Ok(IntervalTable::NONE);
    }
    Ok(IntervalTable {
        first: layout.put(intervals.lines.into_iter().flatten())?,
        blocks: layout.put_packed(&intervals.blocks, CLASSES_A_LINE)?,
        shift: intervals.shift,
        boundaries: intervals.boundaries,
    })
}

fn write_ether(classes: &EtherClasses, layout: &mut Layout) -> Result<EtherTable, CompileError> {
    if classes.addresses.is_empty() {
        return Ok(EtherTable::default());
    }
    let (mut table, words) = ether::build(&classes.addresses);
    table.first = layout.put(words)?;
    Ok(table)
}

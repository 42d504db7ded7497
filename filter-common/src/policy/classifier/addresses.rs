//! The classes of IP addresses: what the prefix table of the rules is to say.
//!
//! The rules name groups of prefixes. Which of them cover an address is its *combination*, and each combination is a class.
//! A table that finds only the longest prefix tells the combination all the same, as each prefix has the class of all groups
//! that cover it, by itself or by a wider prefix. Class 0 is that of no group.
//!
//! Groups may change while the program runs. What one insertion or removal can lead to is given classes beforehand, as far as
//! there is room; [`AddressClasses::class_of`] says `None` for the rest, which needs a new generation. A single change of a
//! group changes the class of every prefix within the one that came or went: whoever makes it asks for each of them.

use std::collections::{HashMap, VecDeque};

use crate::keys::{PrefixV4, PrefixV6};
use crate::table::slot::MAX_SET;

/// Classes that a prefix table can name for the rules, each family and each direction its own: 1 to this.
pub const MAX_CLASSES: u16 = 1022;
const _: () = assert!((MAX_CLASSES as u32) < MAX_SET);
/// What further changes can lead to has classes while there are fewer than this.
const ROOMY: usize = 256;

/// Prefixes that rules name together: those of one condition, or of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressGroup {
    /// Its IPv4 prefixes.
    pub v4: Vec<PrefixV4>,
    /// Its IPv6 prefixes.
    pub v6: Vec<PrefixV6>,
    /// Whether its prefixes come and go while the program runs.
    pub changes: bool,
}

/// A prefix of either family.
pub trait Prefix: Copy + Ord {
    /// Whether every address of the other is in this one.
    fn covers(self, other: Self) -> bool;
}

impl Prefix for PrefixV4 {
    fn covers(self, other: Self) -> bool {
        self.length() <= other.length() && Self::containing(other.address(), self.length()) == self
    }
}

impl Prefix for PrefixV6 {
    fn covers(self, other: Self) -> bool {
        self.length() <= other.length() && Self::containing(other.address(), self.length()) == self
    }
}

/// The classes of one family's addresses, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressClasses<P> {
    prefixes: Vec<(P, u16)>,
    combinations: Vec<Box<[u16]>>,
    classes: HashMap<Box<[u16]>, u16>,
    used: Vec<bool>,
}

impl<P: Prefix> AddressClasses<P> {
    /// From the prefixes of the groups that are used, each with its group's number. `used` and `changes` are by group.
    ///
    /// # Errors
    /// The number of classes, where it is more than [`MAX_CLASSES`].
    pub(super) fn new(
        mut entries: Vec<(P, u16)>,
        used: Vec<bool>,
        changes: impl Fn(u16) -> bool,
    ) -> Result<Self, usize> {
        entries.sort_unstable();
        entries.dedup();
        let mut found = Found { combinations: vec![Box::default()], joined: HashMap::new() };
        let mut classes = HashMap::from([(Box::default(), 0)]);
        let mut prefixes = Vec::with_capacity(entries.len());
        // The prefixes that cover the next one, the widest first.
        let mut around: Vec<(P, usize)> = Vec::new();
        for same in entries.chunk_by(|one, other| one.0 == other.0) {
            let prefix = same[0].0;
            while around.last().is_some_and(|(wider, _)| !wider.covers(prefix)) {
                around.pop();
            }
            let outer = around.last().map_or(0, |(_, class)| *class);
            let class = found.join(outer, same.iter().map(|(_, group)| *group), &mut classes);
            around.push((prefix, class));
            prefixes.push((prefix, class));
        }
        if found.combinations.len() > usize::from(MAX_CLASSES) + 1 {
            return Err(found.combinations.len() - 1);
        }
        let number = |class| u16::try_from(class).unwrap_or(0);
        let mut known = Self {
            prefixes: prefixes.into_iter().map(|(prefix, class)| (prefix, number(class))).collect(),
            combinations: found.combinations,
            classes: classes.into_iter().map(|(groups, class)| (groups, number(class))).collect(),
            used,
        };
        known.look_ahead(changes);
        Ok(known)
    }

    /// Gives classes to what single changes lead to: from what is there now as long as there is room, from there on while
    /// there are few.
    fn look_ahead(&mut self, changes: impl Fn(u16) -> bool) {
        let groups = (0..).zip(&self.used).filter(|(group, used)| **used && changes(*group));
        let changing: Vec<u16> = groups.map(|(group, _)| group).collect();
        let present = self.combinations.len();
        let mut next: VecDeque<usize> = (0..present).collect();
        while let Some(class) = next.pop_front() {
            let most = if class < present { usize::from(MAX_CLASSES) + 1 } else { ROOMY };
            for group in &changing {
                if self.combinations.len() >= most {
                    break;
                }
                let mut groups = self.combinations[class].to_vec();
                match groups.binary_search(group) {
                    Ok(at) => {
                        groups.remove(at);
                    }
                    Err(at) => groups.insert(at, *group),
                }
                let groups = groups.into_boxed_slice();
                if !self.classes.contains_key(&groups) {
                    let number = self.combinations.len();
                    self.classes.insert(groups.clone(), u16::try_from(number).unwrap_or(0));
                    self.combinations.push(groups);
                    next.push_back(number);
                }
            }
        }
    }

    /// What the prefix table is to hold, in order, each prefix once.
    #[must_use]
    pub fn prefixes(&self) -> &[(P, u16)] {
        &self.prefixes
    }

    /// The class of addresses that these groups cover, in any order and with others that this direction does not use;
    /// `None` where it takes a new generation to tell them.
    #[must_use]
    pub fn class_of(&self, groups: &[u16]) -> Option<u16> {
        let is_used = |group: &u16| self.used.get(usize::from(*group)).copied().unwrap_or(false);
        let mut combination: Vec<u16> = groups.iter().copied().filter(is_used).collect();
        combination.sort_unstable();
        combination.dedup();
        self.classes.get(combination.as_slice()).copied()
    }

    /// The groups that each class stands for, from class 0 on.
    #[must_use]
    pub fn combinations(&self) -> &[Box<[u16]>] {
        &self.combinations
    }
}

/// Combinations that were met.
struct Found {
    combinations: Vec<Box<[u16]>>,
    /// The class of a class and further groups.
    joined: HashMap<usize, HashMap<Box<[u16]>, usize>>,
}

impl Found {
    /// The class of what `outer` stands for and further groups, in order.
    fn join(
        &mut self,
        outer: usize,
        groups: impl Iterator<Item = u16>,
        classes: &mut HashMap<Box<[u16]>, usize>,
    ) -> usize {
        let groups: Box<[u16]> = groups.collect();
        let from_here = self.joined.entry(outer).or_default();
        if let Some(class) = from_here.get(&groups) {
            return *class;
        }
        let mut all = [&*self.combinations[outer], &*groups].concat();
        all.sort_unstable();
        all.dedup();
        let next = self.combinations.len();
        let class = *classes.entry(all.clone().into_boxed_slice()).or_insert(next);
        if class == next {
            self.combinations.push(all.into_boxed_slice());
        }
        from_here.insert(groups, class);
        class
    }
}

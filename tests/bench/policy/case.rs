//! What is measured: programs, and what packets meet in them.

use serde::{Serialize, Serializer};

use super::packets::Packets;
use crate::list::Traffic;

/// What a packet meets among the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// No rule names its port.
    Nothing,
    /// One in the middle matches it but for its source.
    Nearly,
    /// The last drops it.
    Last,
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A bare drop: the limit of floods.
    BareDrop,
    /// Levee without a policy.
    None,
    /// With one that says nothing.
    Empty,
    /// With one that drops everything, without rules.
    DefaultDrop,
    /// With so many rules.
    Rules(u32, Meets),
    /// With a limit for each source.
    Limit,
    /// With ten rules that match nothing, and the limit behind them.
    RulesAndLimit,
    /// With every profile, as shipped.
    Profiles,
    /// Not Levee: the limiter on the kernel's LRU hash map.
    LruLimiter,
}

impl Case {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 14] = [
        Self::BareDrop,
        Self::None,
        Self::Empty,
        Self::DefaultDrop,
        Self::Rules(10, Meets::Nothing),
        Self::Rules(10, Meets::Nearly),
        Self::Rules(10, Meets::Last),
        Self::Rules(1000, Meets::Nothing),
        Self::Rules(1000, Meets::Nearly),
        Self::Rules(1000, Meets::Last),
        Self::Limit,
        Self::RulesAndLimit,
        Self::LruLimiter,
        Self::Profiles,
    ];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BareDrop => "bare XDP_DROP",
            Self::None => "no policy",
            Self::Empty => "empty policy",
            Self::DefaultDrop => "default = \"drop\"",
            Self::Rules(10, Meets::Nothing) => "10 rules, no rule",
            Self::Rules(10, Meets::Nearly) => "10 rules, nearly a rule",
            Self::Rules(10, Meets::Last) => "10 rules, the last rule",
            Self::Rules(_, Meets::Nothing) => "1,000 rules, no rule",
            Self::Rules(_, Meets::Nearly) => "1,000 rules, nearly a rule",
            Self::Rules(_, Meets::Last) => "1,000 rules, the last rule",
            Self::Limit => "limit 1000/s per source",
            Self::RulesAndLimit => "10 rules, no rule, and the limit",
            Self::LruLimiter => "LRU hash limiter",
            Self::Profiles => "all profiles",
        }
    }

    /// Without spaces, for directories and namespaces.
    pub fn slug(self) -> String {
        let name = self.name().to_lowercase();
        let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    /// What becomes of every packet.
    pub const fn traffic(self) -> Traffic {
        match self {
            Self::BareDrop | Self::DefaultDrop | Self::Rules(_, Meets::Last) => Traffic::Hit,
            Self::None
            | Self::Empty
            | Self::Rules(_, Meets::Nothing | Meets::Nearly)
            | Self::Limit
            | Self::RulesAndLimit
            | Self::LruLimiter
            | Self::Profiles => Traffic::Miss,
        }
    }

    /// Whether its cost is measured with these packets.
    pub const fn is_measured_with(self, packets: Packets) -> bool {
        match self {
            Self::BareDrop => false,
            Self::None => true,
            Self::Empty | Self::DefaultDrop | Self::Rules(..) => matches!(packets, Packets::Rules),
            Self::Limit | Self::RulesAndLimit | Self::LruLimiter => matches!(packets, Packets::Limits),
            Self::Profiles => packets.are_ordinary(),
        }
    }

    /// The packets of its floods; none where it stands in none.
    pub const fn flooded_with(self) -> Option<Packets> {
        match self {
            Self::Empty | Self::Rules(_, Meets::Nothing) | Self::Profiles => None,
            Self::Limit | Self::RulesAndLimit | Self::LruLimiter => Some(Packets::Limits),
            Self::BareDrop | Self::None | Self::DefaultDrop | Self::Rules(..) => Some(Packets::Rules),
        }
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

//! What a set is for.

use crate::tables::TableKind;

/// What a set does with the addresses that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Packets from them are dropped.
    Block,
    /// Packets from them pass.
    AllowSource,
    /// Packets to them pass.
    AllowDestination,
    /// Nothing by itself: rules of the policy look at it.
    Match,
}

impl SetKind {
    /// The table that its prefixes go into; none where only rules look at it.
    #[must_use]
    pub const fn table(self) -> Option<TableKind> {
        match self {
            Self::Block => Some(TableKind::Block),
            Self::AllowSource => Some(TableKind::AllowSource),
            Self::AllowDestination => Some(TableKind::AllowDestination),
            Self::Match => None,
        }
    }

    /// Whether its prefixes go into that table.
    #[must_use]
    pub fn is_in(self, table: TableKind) -> bool {
        self.table() == Some(table)
    }

    /// Its name: the action that the command line and the policy know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::AllowSource => "allow",
            Self::AllowDestination => "allow-destination",
            Self::Match => "match",
        }
    }
}

impl From<TableKind> for SetKind {
    /// The kind of the sets that a table is made of.
    fn from(table: TableKind) -> Self {
        match table {
            TableKind::Block => Self::Block,
            TableKind::AllowSource => Self::AllowSource,
            TableKind::AllowDestination => Self::AllowDestination,
            TableKind::RuleSource | TableKind::RuleDestination => Self::Match,
        }
    }
}

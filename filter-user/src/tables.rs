//! What the engine needs of the prefix tables, whatever they are made of.
//!
//! The live tables are the kernel's ([`crate::dataplane`]); the engine's own tests run on [`MemoryTables`], which is
//! also the plain reference that the live ones are tested against. A change is visible to the next packet when the
//! call returns. Single changes go one by one, and undoing a half-applied batch is the engine's work; a replacement is
//! one step for every packet.

mod memory;
mod resting;

use std::collections::BTreeMap;
use std::time::Duration;

use filter_common::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
pub use filter_common::table::TableKind;
use filter_common::table::draft::TooLarge;
use filter_common::table::slot;
pub use filter_common::table::{Contents, Footprint};
use filter_common::table::{Draft, Room};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::memory::MemoryTables;
pub use self::resting::{Resting, RestingMark, Settled, Waited};

/// A set's number, as stored beside each prefix in the kernel: from 1 to [`MAX_SET`].
pub type SetId = u32;

/// The highest number that a set can have.
pub const MAX_SET: SetId = slot::MAX_SET;

/// The tables could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The live tables have no room for the prefix; a replacement makes it.
    #[error("the tables have no room left for it")]
    Full,
    /// The tables would take more memory than they may.
    #[error(
        "the tables would take {} in the kernel, and the limit is {}; raise it with `levee run --max-memory`",
        bytes(*.needed),
        bytes(*.limit)
    )]
    OverLimit {
        /// Bytes that they would take.
        needed: u64,
        /// Bytes that they may take.
        limit: u64,
    },
    /// The tables would be larger than Levee can make them.
    #[error("the tables would be larger than the 64 GiB that one generation can have")]
    TooLarge,
    /// The kernel does not tell when the searches that run have ended, which a change in place had to wait for; a
    /// replacement need not.
    #[error("the kernel does not tell when searches that are under way have ended")]
    Unsettled,
    /// Too many entries hash to one place, each of several times that they were spread anew.
    #[error("the entries could not be spread over the tables; trying again spreads them in another way")]
    Crowded,
    /// The kernel refused on some interfaces, and to take it back on others.
    #[error(
        "the kernel refused to {action}, and to take that back everywhere: {interfaces} filter by other tables than \
         the rest"
    )]
    Divided {
        /// What was tried.
        action: &'static str,
        /// Names of the interfaces that should filter by other tables than they do.
        interfaces: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel refused.
    #[error("the kernel refused to {action}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    humansize::format_size(count, humansize::BINARY)
}

/// The bytes that the tables may take, as people write them: `512MiB`, `2GB`.
///
/// # Errors
/// What was expected, where the text is no number of bytes, or the empty tables would not fit.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let size = parse_size::parse_size(text);
    let expected = "expected a number of bytes, with a unit if need be: 512MiB, 2GB";
    let size = size.map_err(|error| format!("{error}; {expected}"))?;
    let empty = footprint(&Contents::default()).map_or(0, |empty| empty.bytes);
    if size < empty {
        return Err(format!("the empty tables take {} already; {expected}", bytes(empty)));
    }
    Ok(size)
}

/// What became of tables that were there before the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// They hold what they should, and are used as they are.
    Adopted,
    /// There were none, or they held something else: they were replaced.
    Replaced,
}

/// Whether new tables are on trial: when the time of that is over, those of before the trial are in force again, whatever
/// became of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrial {
    /// As those are that they replace, and for as long.
    AsBefore,
    /// From now on, for so long.
    Begins(Duration),
    /// They are not, and a trial that is under way is over.
    Ends,
}

/// The prefix tables, each for both families, and the policy beside them.
pub trait PrefixTables: Send {
    /// Takes over the tables that are there, if they hold just `contents` and are on trial just if they should be, else
    /// replaces them.
    ///
    /// # Errors
    /// As [`Self::replace`].
    fn open(&mut self, contents: &Contents, on_trial: bool) -> Result<Opened, TableError>;

    /// Adds `prefix`, or changes the set that it names.
    ///
    /// # Errors
    /// [`TableError::Full`] when there is no room, [`TableError::Kernel`] when the kernel refuses; the table is then
    /// as it was.
    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError>;

    /// Removes exactly `prefix`; says whether it was there.
    ///
    /// # Errors
    /// As [`Self::insert`]: without a wide prefix, the rest may take more room.
    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError>;

    /// Returns once every search that is under way has ended: what began later sees every change that was made before.
    ///
    /// # Errors
    /// [`TableError::Unsettled`] on kernels that cannot tell.
    fn wait_for_searches(&mut self) -> Result<(), TableError>;

    /// What rests where entries were, if anything does. The wait for those who may look at it still needs no tables.
    fn resting(&self) -> Option<Resting>;

    /// Gives back what rested when the wait began, and nothing that has come to rest since.
    fn settle(&mut self, waited: Waited) -> Settled;

    /// Puts `contents` in force in place of all that the tables hold, in one step for every packet. What was in force
    /// is kept until [`Self::keep`] or [`Self::put_back`].
    ///
    /// # Errors
    /// [`TableError::OverLimit`], [`TableError::TooLarge`], [`TableError::Crowded`] and [`TableError::Kernel`]; nothing
    /// changed then. [`TableError::Divided`]: some of what filters has changed, and [`Self::open`] mends it.
    fn replace(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError>;

    /// How much is left of a trial; none where there is none, or its time is over.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when that cannot be told.
    fn trial_left(&self) -> Result<Option<Duration>, TableError>;

    /// Whether what an earlier controller left in force has a policy.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when that cannot be told.
    fn have_policy(&self) -> Result<bool, TableError>;

    /// Whether there is a trial whose time is over: what was before it is in force.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when that cannot be told.
    fn trial_is_over(&self) -> Result<bool, TableError>;

    /// Lets a trial not end by itself, until [`Self::resume_trial`] or [`Self::end_trial`].
    ///
    /// # Errors
    /// [`TableError::Kernel`].
    fn hold_trial(&mut self) -> Result<(), TableError>;

    /// Lets a trial end when it was to before [`Self::hold_trial`].
    ///
    /// # Errors
    /// [`TableError::Kernel`].
    fn resume_trial(&mut self) -> Result<(), TableError>;

    /// Lets a trial hand nothing more of connections from these prefixes to what was before it ([`filter_common::trial`]); of
    /// none at all where none are named, or more than it has room for.
    ///
    /// # Errors
    /// [`TableError::Kernel`].
    fn narrow_trial(&mut self, blocked: Option<&[IpNet]>) -> Result<(), TableError>;

    /// What is on trial is in force for good.
    ///
    /// # Errors
    /// [`TableError::Kernel`]: it is all the same, but what asked for the time still does on some interface.
    fn end_trial(&mut self) -> Result<(), TableError>;

    /// Lets the counters of rules begin at zero.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when the kernel refuses.
    fn forget_rules(&mut self, slots: &[u32]) -> Result<(), TableError>;

    /// The kernel's index of an interface; none where there is none of that name.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// Goes back to what was in force before the last replacement.
    ///
    /// # Errors
    /// [`TableError::Kernel`]: the replacement is then in force still. [`TableError::Divided`]: in some places it is.
    fn put_back(&mut self) -> Result<(), TableError>;

    /// Lets go of what was in force before the last replacement.
    fn keep(&mut self);

    /// The longest prefix in the table that covers all of `prefix`, and its set.
    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Option<(IpNet, SetId)>;

    /// What tables that an earlier controller left hold, as far as it can be told: the addresses are right, but wide
    /// prefixes may come out divided or joined.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when they cannot be read.
    fn found(&self) -> Result<Contents, TableError>;

    /// Whether tables that an earlier controller left decide about packets.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when that cannot be told.
    fn are_in_force(&self) -> Result<bool, TableError>;

    /// Lets the counters of a set number begin at zero.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when the kernel refuses.
    fn forget_set(&mut self, set: SetId) -> Result<(), TableError>;

    /// What tells what contents would take, also without these tables.
    fn planner(&self) -> fn(&Contents) -> Result<Footprint, TableError>;

    /// What `contents` would take.
    ///
    /// # Errors
    /// [`TableError::TooLarge`].
    fn plan(&self, contents: &Contents) -> Result<Footprint, TableError> {
        (self.planner())(contents)
    }

    /// What the tables in force take, and may take.
    fn memory(&self) -> TableMemory;
}

/// Memory of the tables, in bytes of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableMemory {
    /// Of the generation in force.
    pub live: u64,
    /// That a generation may take.
    pub limit: u64,
    /// Number of the generation in force.
    pub generation: u32,
}

/// A prefix as the tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablePrefix {
    /// IPv4.
    V4(PrefixV4),
    /// IPv6.
    V6(PrefixV6),
}

impl From<IpNet> for TablePrefix {
    fn from(prefix: IpNet) -> Self {
        match prefix {
            IpNet::V4(prefix) => Self::V4(prefix_v4(prefix)),
            IpNet::V6(prefix) => Self::V6(prefix_v6(prefix)),
        }
    }
}

/// An IPv4 prefix as the tables have it.
#[must_use]
pub fn prefix_v4(prefix: Ipv4Net) -> PrefixV4 {
    PrefixV4::containing(AddressV4::from_bits(prefix.addr().to_bits()), prefix.prefix_len())
}

/// An IPv6 prefix as the tables have it.
#[must_use]
pub fn prefix_v6(prefix: Ipv6Net) -> PrefixV6 {
    PrefixV6::containing(AddressV6::from_octets(prefix.addr().octets()), prefix.prefix_len())
}

/// A table's IPv4 prefix as the engine has it.
#[must_use]
pub fn ipnet_v4(prefix: PrefixV4) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(prefix.address().bits().into(), prefix.length()))
}

/// A table's IPv6 prefix as the engine has it.
#[must_use]
pub fn ipnet_v6(prefix: PrefixV6) -> IpNet {
    let (first, last) = prefix.address().halves();
    let bits = u128::from(first) << 64 | u128::from(last);
    IpNet::V6(Ipv6Net::new_assert(bits.into(), prefix.length()))
}

/// Every prefix of one table, with its set.
#[must_use]
pub fn entries(contents: &Contents, table: TableKind) -> BTreeMap<IpNet, SetId> {
    let v4 = contents.v4(table).iter().map(|(prefix, set)| (ipnet_v4(*prefix), SetId::from(*set)));
    let v6 = contents.v6(table).iter().map(|(prefix, set)| (ipnet_v6(*prefix), SetId::from(*set)));
    v4.chain(v6).collect()
}

/// Sets the entries of one table, of which those of a prefix that comes more than once count for the lowest set.
///
/// # Errors
/// [`TableError::TooLarge`] for the number of a set that no table can name.
pub fn set_entries(
    contents: &mut Contents,
    table: TableKind,
    entries: impl IntoIterator<Item = (IpNet, SetId)>,
) -> Result<(), TableError> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, set) in entries {
        let set = u16::try_from(set).map_err(|_| TableError::TooLarge)?;
        match TablePrefix::from(prefix) {
            TablePrefix::V4(prefix) => v4.push((prefix, set)),
            TablePrefix::V6(prefix) => v6.push((prefix, set)),
        }
    }
    contents.set_v4(table, v4);
    contents.set_v6(table, v6);
    Ok(())
}

/// What the kernel's tables take with these contents, when they are made anew.
///
/// # Errors
/// [`TableError::TooLarge`]; [`TableError::OverLimit`] where it is not worth counting further.
pub fn footprint(contents: &Contents) -> Result<Footprint, TableError> {
    draft(contents, 0, MOST_COUNTED, LONGEST_ELEMENT).map(|draft| draft.footprint())
}

/// The same where the kernel takes no element longer than [`SHORT_ELEMENT`].
///
/// # Errors
/// As [`footprint`].
pub fn footprint_divided(contents: &Contents) -> Result<Footprint, TableError> {
    draft(contents, 0, MOST_COUNTED, SHORT_ELEMENT).map(|draft| draft.footprint())
}

/// A generation with these contents that takes at most `limit` bytes, in a map with elements of at most `longest`.
pub(crate) fn draft(contents: &Contents, seed: u64, limit: u64, longest: u64) -> Result<Draft, TableError> {
    let draft = Draft::new(contents, Room::USUAL, seed, limit).map_err(|error| match error {
        TooLarge::Lines => TableError::TooLarge,
        TooLarge::Bytes(needed) => TableError::OverLimit { needed, limit },
    })?;
    if draft.bytes() <= longest {
        return Ok(draft);
    }
    let draft = draft.divided();
    let needed = draft.bytes();
    if needed > limit { Err(TableError::OverLimit { needed, limit }) } else { Ok(draft) }
}

/// The longest element that the verifier lets a program look into, in bytes, as a power of two.
pub(crate) const LONGEST_ELEMENT: u64 = 256 << 20;
/// The longest that kernels before 6.0 take.
pub(crate) const SHORT_ELEMENT: u64 = 4 << 20;

/// What a plan counts up to, in bytes: far more than a list is worth, and less than would keep the host busy.
const MOST_COUNTED: u64 = 4 << 30;

/// "IPv4" or "IPv6".
#[must_use]
pub const fn family(prefix: &IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

//! What one figure is about: a measure, taken of one filter with one list.

use harness::packet::Family;
use serde::Serialize;

use crate::filter;
use crate::list::{self, Traffic, version};
use crate::series::Series;
use crate::tally::Tally;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Nanoseconds a packet beyond a bare drop, by test runs.
    NsOverFloor,
    /// Packets a second that one core takes.
    Flood,
    /// What two cores take, over what one takes.
    TwoFloods,
    /// From the command to the list being in force.
    Load,
    /// From the command to another list being in force in place of the one that was.
    Replace,
    /// From the call to the first packet that is dropped.
    Latency,
    /// Single additions, one after the other.
    SingleAdds,
    /// A hundred thousand additions at once.
    Transaction,
    /// Kernel memory of the list.
    Memory,
}

impl Measure {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::NsOverFloor,
        Self::Flood,
        Self::TwoFloods,
        Self::Load,
        Self::Replace,
        Self::Latency,
        Self::SingleAdds,
        Self::Transaction,
        Self::Memory,
    ];

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NsOverFloor => "ns over floor: what a packet costs beyond a bare XDP_DROP (test run)",
            Self::Flood => "flood: what one core takes, sender included (veth, live frames)",
            Self::TwoFloods => "two floods on two cores, over one flood on one",
            Self::Load => "load: from the command to the list being in force",
            Self::Replace => {
                "replacement: from the command to another list of that length, half of it new, being in force"
            }
            Self::Latency => "single update: from the call to the first dropped packet",
            Self::SingleAdds => "single updates, one after the other",
            Self::Transaction => "100,000 additions at once",
            Self::Memory => "kernel memory of the list",
        }
    }

    /// What its figures are in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::NsOverFloor => "ns",
            Self::Flood => "Mpps",
            Self::TwoFloods => "x",
            Self::Load | Self::Replace | Self::Transaction => "ms",
            Self::Latency => "us",
            Self::SingleAdds => "/s",
            Self::Memory => "MB",
        }
    }

    /// Digits behind the point.
    pub const fn digits(self) -> usize {
        match self {
            Self::NsOverFloor | Self::Latency | Self::SingleAdds => 0,
            Self::Load | Self::Replace | Self::Transaction => 1,
            Self::Flood | Self::TwoFloods | Self::Memory => 2,
        }
    }
}

/// One filter with one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Subject {
    pub filter: filter::Kind,
    pub list: list::Kind,
    pub entries: u32,
}

/// What a figure of packets was taken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Packets {
    pub family: &'static str,
    pub traffic: Traffic,
}

impl Packets {
    /// Of that family.
    pub const fn new(family: Family, traffic: Traffic) -> Self {
        Self { family: version(family), traffic }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub measure: Measure,
    #[serde(flatten)]
    pub subject: Subject,
    #[serde(flatten)]
    pub packets: Option<Packets>,
    #[serde(flatten)]
    pub series: Series,
    #[serde(flatten)]
    pub detail: Detail,
}

/// What some measures tell beyond their rounds.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// Nothing.
    None {},
    /// Medians of driver and bare drop, and of driver and program.
    Floor { floor_ns: f64, program_ns: f64 },
    /// The kernel's growth while the filter was set up for the first time.
    Memory { growth_mb: f64 },
    /// Medians of what one core takes and what two take.
    TwoFloods { one_mpps: f64, two_mpps: f64 },
    /// Median over the median of the bare drop beside it; and where the frames went.
    Flood { of_bare_drop: f64, frames: Tally, verified: bool },
}

/// Something that was not measured, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    #[serde(flatten)]
    pub subject: Subject,
    /// One measure; all where absent.
    pub measure: Option<Measure>,
    pub why: String,
}

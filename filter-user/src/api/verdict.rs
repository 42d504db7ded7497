//! What becomes of packets from a prefix: blocked, partly blocked, or not.
//!
//! Decides what of several answers counts: an entry that covers all of the prefix is asked of the kernel's tables, what
//! lies within it of the sets. Allow entries for sources are exceptions; destinations are not asked about.

use ipnet::IpNet;

use super::controller::{Controller, parse};
use super::error::ApiError;
use super::types::{Blocked, EntriesWithin, PrefixMatch, SCHEMA, TestRequest, TestResult, Tested};
use crate::engine::{self, Engine, EngineError, Extent};
use crate::tables::TableKind;

impl Controller {
    /// What the lists say about prefixes as sources.
    ///
    /// # Errors
    /// When one of them is no prefix, or the kernel refuses.
    pub fn test(&self, request: &TestRequest) -> Result<Tested, ApiError> {
        let prefixes = parse(&request.prefixes)?;
        let engine = self.engine()?;
        let results: Vec<TestResult> =
            prefixes.into_iter().map(|prefix| test(&engine, prefix)).collect::<Result<_, ApiError>>()?;
        let count = |verdict| results.iter().filter(|result| result.verdict == verdict).count() as u64;
        let (blocked, partly_blocked) = (count(Blocked::All), count(Blocked::Partly));
        Ok(Tested { schema: SCHEMA, blocked, partly_blocked, not_blocked: count(Blocked::Not), results })
    }
}

fn test(engine: &Engine, prefix: IpNet) -> Result<TestResult, ApiError> {
    let find = |kind| match engine.test(kind, prefix) {
        Ok(found) => Ok(found.map(PrefixMatch::from)),
        // It drops packets, whoever it belongs to.
        Err(EngineError::ForeignEntry { prefix, .. }) => Ok(Some(PrefixMatch { prefix, set: None })),
        Err(error) => Err(error),
    };
    let (block, allow) = (find(TableKind::Block)?, find(TableKind::AllowSource)?);
    let (verdict, block_within, allow_within) = if allow.is_some() {
        (Blocked::Not, EntriesWithin::default(), EntriesWithin::default())
    } else {
        let engine::Coverage { extent, blocks, allows } = engine.coverage(prefix, block.is_some());
        let blocks = if block.is_some() { EntriesWithin::default() } else { blocks.into() };
        (extent.into(), blocks, allows.into())
    };
    let blocked = verdict == Blocked::All;
    Ok(TestResult { prefix, verdict, blocked, block, allow, block_within, allow_within })
}

impl From<engine::Match> for PrefixMatch {
    fn from(found: engine::Match) -> Self {
        Self { prefix: found.prefix, set: Some(found.set.to_string()) }
    }
}

impl From<engine::Inside> for EntriesWithin {
    fn from(inside: engine::Inside) -> Self {
        Self { count: inside.count, first: inside.first.map(PrefixMatch::from) }
    }
}

impl From<Extent> for Blocked {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::All => Self::All,
            Extent::Part => Self::Partly,
            Extent::Nothing => Self::Not,
        }
    }
}

//! Records of the journal: what they say, and how they lie in a file.
//!
//! A file is eight bytes of magic and version, then frames: length (u32), CRC-32 of the payload (u32), payload, all
//! little-endian; a payload is postcard. Each payload begins with a mark and the record's number in its file: the mark
//! lets a reader find records behind damage, the number shows when one is missing. Trusts nothing in the bytes; a
//! length never makes it allocate more than the file holds.

use ipnet::IpNet;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::kind::SetKind;
use super::name::SetName;
use super::policies::{PolicyRecord, Trial};
use super::types::InterfaceIntent;
use crate::tables::SetId;

/// Bytes of a frame before its payload.
const FRAME: usize = 8;
const MARK: [u8; 4] = *b"\xf1LvR";

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The first of each file.
    Begin {
        /// Of the snapshot; in the log, of the snapshot that it goes on from.
        generation: u64,
    },
    /// One change; in the log, one whole operation.
    Change(Change),
    /// The last of a snapshot.
    End {
        /// Entries of all sets.
        entries: u64,
    },
}

/// Steps that take effect together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    /// When, in seconds of Unix time.
    pub at: u64,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    /// A new, empty set.
    CreateSet { id: SetId, name: SetName, kind: KindCode, created: u64 },
    /// Entries to add. One that is there keeps when it was added and, where no reason is given, its reason.
    Put {
        set: SetId,
        added: u64,
        expires: Option<u64>,
        by: String,
        reason: Option<String>,
        prefixes: Vec<IpNet>,
    },
    /// Entries to remove.
    Remove { set: SetId, prefixes: Vec<IpNet> },
    /// All entries to remove.
    Flush { set: SetId },
    /// The set to remove, with its entries.
    RemoveSet { set: SetId },
    /// An interface that Levee is wanted on.
    SetInterface { name: String, intent: InterfaceIntent },
    /// An interface that it is no longer wanted on.
    ClearInterface { name: String },
    /// A policy that comes into force; on trial where there is an end of that, in milliseconds of Unix time.
    ApplyPolicy { record: PolicyRecord, until_ms: Option<u64> },
    /// The policy on trial stays in force.
    ConfirmPolicy,
    /// What was before the policy on trial is in force again.
    EndTrial,
    /// A policy of a snapshot, in order; with whether it is the one in force, and its trial.
    RestorePolicy { record: PolicyRecord, in_force: bool, trial: Option<Trial> },
}

/// A [`SetKind`] on disk: the order of these is the format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum KindCode {
    Block,
    AllowSource,
    AllowDestination,
    Match,
}

impl From<SetKind> for KindCode {
    fn from(kind: SetKind) -> Self {
        match kind {
            SetKind::Block => Self::Block,
            SetKind::AllowSource => Self::AllowSource,
            SetKind::AllowDestination => Self::AllowDestination,
            SetKind::Match => Self::Match,
        }
    }
}

impl From<KindCode> for SetKind {
    fn from(code: KindCode) -> Self {
        match code {
            KindCode::Block => Self::Block,
            KindCode::AllowSource => Self::AllowSource,
            KindCode::AllowDestination => Self::AllowDestination,
            KindCode::Match => Self::Match,
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    mark: [u8; 4],
    number: u64,
    record: &'a Record,
}

#[derive(Deserialize)]
struct Read {
    mark: [u8; 4],
    number: u64,
    record: Record,
}

/// The frame of `record`, which is number `number` of its file.
pub(super) fn encode(number: u64, record: &Record) -> Result<Vec<u8>, JournalError> {
    let written = Written { mark: MARK, number, record };
    let mut frame = postcard::to_extend(&written, vec![0; FRAME])
        // The types above serialize without a failing case, and a vector grows as needed.
        .map_err(|_| JournalError::TooBig { bytes: usize::MAX })?;
    let payload = &frame[FRAME..];
    let bytes = payload.len();
    let length = u32::try_from(bytes).map_err(|_| JournalError::TooBig { bytes })?;
    let checksum = crc32fast::hash(payload);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..FRAME].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// Why no record could be read at an offset.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unread {
    /// An unfinished write looks like this, at the end of a file.
    Unfinished(&'static str),
    /// No unfinished write looks like this.
    Damaged(String),
}

/// The record at `offset` of `bytes`, which should have that number, and the offset behind it.
pub(super) fn decode(bytes: &[u8], offset: usize, number: u64) -> Result<(Record, usize), Unread> {
    let payload = checked_payload(bytes, offset)?;
    let read: Read = postcard::from_bytes(payload)
        .map_err(|error| Unread::Damaged(format!("a record that cannot be understood ({error})")))?;
    if read.mark != MARK || read.number != number {
        return Err(Unread::Damaged(format!("record {} where record {number} belongs", read.number)));
    }
    Ok((read.record, offset + FRAME + payload.len()))
}

/// Whether everything from `offset` on can be one unfinished write: no whole record lies behind it.
pub(super) fn is_torn_tail(bytes: &[u8], offset: usize) -> bool {
    // Where this one says it ends, another has begun: it was written to its end, and damaged later.
    if let Some((length, _)) = frame_at(bytes, offset)
        && bytes[offset + FRAME..].get(length..).is_some_and(begins_record)
    {
        return false;
    }
    let behind = (offset + 1 + FRAME).min(bytes.len());
    memmem::find_iter(&bytes[behind..], &MARK)
        .all(|mark| checked_payload(bytes, behind + mark - FRAME).is_err())
}

fn begins_record(bytes: &[u8]) -> bool {
    bytes.get(FRAME..).is_some_and(|payload| payload.starts_with(&MARK))
}

fn frame_at(bytes: &[u8], offset: usize) -> Option<(usize, u32)> {
    let frame = bytes.get(offset..)?.first_chunk::<FRAME>()?;
    let [a, b, c, d, checksum @ ..] = *frame;
    Some((u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes(checksum)))
}

fn checked_payload(bytes: &[u8], offset: usize) -> Result<&[u8], Unread> {
    let Some((length, checksum)) = frame_at(bytes, offset) else {
        return Err(Unread::Unfinished("the beginning of a record"));
    };
    let Some(payload) = bytes[offset + FRAME..].get(..length) else {
        return Err(Unread::Unfinished("a record that is cut off"));
    };
    if length == 0 || crc32fast::hash(payload) != checksum {
        return Err(Unread::Unfinished("a record whose checksum is wrong"));
    }
    Ok(payload)
}

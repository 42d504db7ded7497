//! The packets that `sample` rules pick, as programs hand them out.
//!
//! Decides nothing. Trusts programs for the head of a sample, and nothing in the packet behind it. The kernel keeps one
//! listener: whoever opens the array later takes every sample from then on, and who listened before is not told. When the
//! listener ends, the kernel empties its places, and programs throw samples away again.
//!
//! Costs [`PAGES`] pages of memory for each CPU that is there when it begins; what finds no room in them is lost and counted.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{Map, MapData, MapError, PerfEventArray};
use aya::util::online_cpus;
use filter_common::abi::{SampleHead, map};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clock::Clock;
use super::pins::Pins;
use super::values::{open_map, read_meta};
use super::{DataplaneError, netlink};

/// Room for samples that nobody has read yet: some eight hundred of full size a CPU, with pages of 4 KiB.
const PAGES: usize = 64;

/// A packet that a rule picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it came, to some milliseconds.
    pub at: SystemTime,
    /// The number of the rule's counters.
    pub rule: u32,
    /// Index of the interface that it came in by.
    pub ifindex: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them.
    pub bytes: Vec<u8>,
}

/// What came since the last look.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The oldest first.
    pub samples: Vec<Sample>,
    /// How many found no room.
    pub lost: u64,
}

/// Whoever is shown samples.
pub struct Listener {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
}

impl Listener {
    /// Listens to what is pinned at `bpffs`; none where no policy with rules was in force there.
    ///
    /// # Errors
    /// What another ABI version made is refused; when the kernel refuses.
    pub fn open(bpffs: &Path) -> Result<Option<Self>, DataplaneError> {
        let pins = Pins::new(bpffs);
        read_meta(&pins)?;
        let path = pins.samples();
        // Told apart from what may not be looked at.
        match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| pins.failed("look at", &path, error))?,
        };
        let data = open_map(map::SAMPLES, &path)?;
        let failed = DataplaneError::map(map::SAMPLES);
        let mut array = PerfEventArray::try_from(Map::PerfEventArray(data)).map_err(failed)?;
        let cpus = online_cpus().map_err(|(_, error)| unusable(MapError::IoError(error)))?;
        let open = |cpu| array.open(cpu, Some(PAGES)).map_err(refused);
        Ok(Some(Self { buffers: cpus.into_iter().map(open).collect::<Result<_, _>>()? }))
    }

    /// Waits so long for samples; returns sooner with those that there are.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn next(&mut self, patience: Duration) -> Result<Samples, DataplaneError> {
        let over = self.wait(patience)?;
        let clock = Clock::now();
        let mut found = Samples::default();
        for buffer in &mut self.buffers {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail } => found.samples.extend(sample(head, tail, &clock)),
                PerfEvent::Lost { count } => found.lost += count,
            });
        }
        // Each CPU has a buffer of its own.
        found.samples.sort_by_key(|sample| sample.at);
        let mut over = over.into_iter();
        self.buffers.retain(|_| !over.next().unwrap_or(false));
        Ok(found)
    }

    /// Waits until any buffer has something; tells which of them end, as their CPU has gone: the kernel would say so for ever.
    fn wait(&self, patience: Duration) -> Result<Vec<bool>, DataplaneError> {
        let mut waiting: Vec<PollFd<'_>> =
            self.buffers.iter().map(|buffer| PollFd::new(buffer, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(unusable(MapError::IoError(errno.into()))),
        }
        let over = |waiting: &PollFd<'_>| waiting.revents().intersects(PollFlags::ERR | PollFlags::HUP);
        Ok(waiting.iter().map(over).collect())
    }
}

/// Names of the interfaces of this network namespace, by index.
///
/// # Errors
/// When the kernel does not answer.
pub fn interface_names() -> Result<Vec<(u32, String)>, DataplaneError> {
    let interfaces = netlink::interfaces()?;
    Ok(interfaces.into_iter().map(|interface| (interface.index, interface.name)).collect())
}

/// None of bytes that are no sample. They come in two parts where they lie around the end of the buffer, and the kernel fills
/// them up to a multiple of eight.
fn sample(head: &[u8], tail: &[u8], clock: &Clock) -> Option<Sample> {
    let all = [head, tail].concat();
    let (head, packet) = all.split_first_chunk::<{ size_of::<SampleHead>() }>()?;
    let word = |place: usize| Some(u32::from_ne_bytes(*head.get(place..)?.first_chunk()?));
    let at_ns = u64::from_ne_bytes(*head.first_chunk()?);
    let captured = usize::try_from(word(20)?).ok()?;
    Some(Sample {
        at: clock.time(at_ns),
        rule: word(8)?,
        ifindex: word(12)?,
        length: word(16)?,
        bytes: packet.get(..captured)?.to_vec(),
    })
}

fn unusable(source: MapError) -> DataplaneError {
    DataplaneError::Map { name: map::SAMPLES, source }
}

/// A refusal to listen; one for lack of rights says what would help.
fn refused(error: PerfBufferError) -> DataplaneError {
    match error {
        PerfBufferError::OpenError { io_error }
            if io_error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            DataplaneError::NotPermitted { action: "listening to samples", source: io_error }
        }
        error => unusable(MapError::IoError(std::io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_from_both_parts_and_what_is_none_is_left_out() {
        let mut bytes = 7_u64.to_ne_bytes().to_vec();
        for word in [3_u32, 2, 60, 4] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([1, 2, 3, 4, 0, 0, 0, 0]);
        let clock = Clock::now();
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let found = sample(head, tail, &clock).unwrap();
            assert_eq!((found.rule, found.ifindex, found.length), (3, 2, 60));
            assert_eq!((found.bytes, found.at), (vec![1, 2, 3, 4], clock.time(7)));
        }
        assert_eq!(sample(&bytes[..27], &[], &clock), None);
        assert_eq!(sample(&bytes[..20], &[], &clock), None);
    }
}

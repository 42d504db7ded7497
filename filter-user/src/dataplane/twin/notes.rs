//! What packets of a capture show of who asked whom, noted for a twin as the program at the way out notes it for an interface.
//!
//! Decides the same of a packet as that program does (`filter_common::policy::asked`), by the time of the capture, and writes
//! it to the twin's own maps. A capture mostly does not say which way a packet went, so every packet counts as one that was
//! sent: it makes what its receiver answers asked for, whichever of the two is the host. Costs reading the headers once more, and
//! a system call a second for each exchange.

use std::collections::HashMap;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapError};
use filter_common::abi::{MAX_ASKED, MAX_ASKED_HOSTS, map};
use filter_common::parse::{Frame, Headers, parse};
use filter_common::policy::asked::{AskedKey, Kind, Notes, is_old, notes};
use filter_common::policy::observed::Family;
use filter_common::policy::tables::PolicyTables;

use super::super::DataplaneError;

/// Keys that are remembered here with their times; with more, all are forgotten, and written once more when they are met.
const MOST: usize = (MAX_ASKED + MAX_ASKED_HOSTS) as usize;

/// What was noted for a twin.
pub(super) struct TwinNotes {
    /// Ports of UDP whose answers rules ask about, from the first to the last.
    watched: Vec<(u32, u32)>,
    /// When each was written.
    written: HashMap<AskedKey, u64>,
}

impl TwinNotes {
    /// For a twin of this policy; none where its rules do not ask.
    pub(super) fn of(policy: Option<&PolicyTables>) -> Option<Self> {
        let policy = policy.filter(|policy| policy.asks())?;
        Some(Self { watched: policy.watched.clone(), written: HashMap::new() })
    }

    /// Notes a frame that came or left then.
    pub(super) fn note(&mut self, ebpf: &mut Ebpf, frame: &[u8], now_ns: u64) -> Result<(), DataplaneError> {
        let noted = match parse(&frame) {
            Ok(Frame::V4(headers)) => self.of_packet(frame, &headers),
            Ok(Frame::V6(headers)) => self.of_packet(frame, &headers),
            Ok(Frame::NonIp) | Err(_) => return Ok(()),
        };
        self.write(ebpf, &noted.host, now_ns, false)?;
        self.write(ebpf, &noted.exchange, now_ns, noted.refreshes != 0)
    }

    fn of_packet<A: Family>(&self, frame: &[u8], headers: &Headers<A>) -> Notes {
        let is_watched =
            |port: u16| self.watched.iter().any(|(low, high)| (*low..=*high).contains(&port.into()));
        notes(&frame, headers, is_watched)
    }

    fn write(
        &mut self,
        ebpf: &mut Ebpf,
        key: &AskedKey,
        now_ns: u64,
        refreshes: bool,
    ) -> Result<(), DataplaneError> {
        let name = match key.kind() {
            Kind::None => return Ok(()),
            Kind::Exchange => map::ASKED,
            Kind::Host => map::ASKED_HOSTS,
        };
        match self.written.get(key) {
            Some(written) if !is_old(*written, now_ns) => return Ok(()),
            None if refreshes => return Ok(()),
            _ => {}
        }
        let failed = DataplaneError::map(name);
        let map = ebpf.map_mut(name).ok_or(MapError::InvalidName { name: name.to_owned() });
        map.and_then(BpfHashMap::<_, AskedKey, u64>::try_from)
            .and_then(|mut map| map.insert(*key, now_ns, 0))
            .map_err(failed)?;
        if self.written.len() >= MOST {
            self.written.clear();
        }
        self.written.insert(*key, now_ns);
        Ok(())
    }
}

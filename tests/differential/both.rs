//! One frame through both, and the books of both.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::config::Switches;
use filter_common::counters::Counters;
use filter_common::pipeline::decide;
use filter_common::stages::rules::NoRules;
use filter_common::table::HostTables;
use filter_common::verdict::Reason;
use filter_user::tables::{TableKind, TablePrefix};
use harness::Probe;
use harness::contract::Policy;

/// The host's tables, with the same prefixes as the kernel's.
pub fn host_tables(policy: &Policy) -> HostTables {
    let mut tables = HostTables::default();
    for kind in TableKind::LISTS {
        for prefix in policy.prefixes(kind) {
            match TablePrefix::from(*prefix) {
                TablePrefix::V4(prefix) => tables.insert_v4(kind, prefix, 1),
                TablePrefix::V6(prefix) => tables.insert_v6(kind, prefix, 1),
            }
        }
    }
    tables
}

/// A program in the kernel, beside the host's pipeline with the same tables and switches.
pub struct Both<'a> {
    host: &'a HostTables,
    switches: Switches,
    kernel: &'a Probe,
    before: Counters,
    counted: Counters,
}

impl<'a> Both<'a> {
    pub fn new(host: &'a HostTables, switches: Switches, kernel: &'a Probe) -> Result<Self> {
        let before = kernel.counters().read()?;
        Ok(Self { host, switches, kernel, before, counted: Counters::default() })
    }

    /// Runs both on a frame, in the kernel with only the first `linear` bytes in the first buffer if told so.
    pub fn reason(&mut self, frame: &[u8], linear: Option<usize>) -> Result<Reason> {
        let host = decide(&frame, self.host, &self.switches, &NoRules).reason;
        let kernel = match linear {
            None => self.kernel.reason(frame),
            Some(linear) => self.kernel.reason_split(frame, linear),
        };
        let kernel = kernel.with_context(|| self.case(frame, linear))?;
        if host != kernel {
            bail!("host: {}, kernel: {}\n{}", host.name(), kernel.name(), self.case(frame, linear));
        }
        self.counted.count(host, frame.len() as u64);
        Ok(host)
    }

    /// Compares the books.
    pub fn finish(self) -> Result<Counters> {
        let mut expected = self.before;
        expected.add(&self.counted);
        let kernel = self.kernel.counters().read()?;
        ensure!(kernel == expected, "host counted {expected:?}, kernel {kernel:?}");
        Ok(self.counted)
    }

    fn case(&self, frame: &[u8], linear: Option<usize>) -> String {
        let mut text = format!("{:?}, first buffer {linear:?}, {} bytes: ", self.switches, frame.len());
        for byte in frame {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

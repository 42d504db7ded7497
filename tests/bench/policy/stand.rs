//! Each program behind a veth pair of its own.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use harness::Sandbox;
use harness::asked::Asked;
use harness::packet::Family;

use super::case::{Case, Meets};
use super::lru::LruLimiter;
use super::ruled::Ruled;
use super::{packets, text};
use crate::filter::{Filter, bare_drop};
use crate::lane::Lane;

/// One program at work.
pub struct Stand {
    pub case: Case,
    pub filter: Box<dyn Filter>,
    pub lane: Lane,
    /// The pin directory of a program that notes who was asked.
    notes: Option<PathBuf>,
    /// Instructions that the kernel kept of it once the verifier had pruned it, with all its functions; of Levee alone.
    pub instructions: Option<u32>,
}

impl Stand {
    /// Sets it up.
    pub fn new(sandbox: &Sandbox, case: Case) -> Result<Self> {
        let lane = Lane::new(sandbox, &case.slug(), Family::V4)?;
        let (mut instructions, mut notes) = (None, None);
        let filter: Box<dyn Filter> = match case {
            Case::BareDrop => bare_drop(&lane)?,
            // Kernels that know frames in several buffers get Levee's program for those.
            Case::LruLimiter => Box::new(LruLimiter::attach(&lane, knows_frags()?)?),
            _ => {
                let mut ruled = Ruled::attach(sandbox, &lane, &case.slug())?;
                match case {
                    Case::Empty => ruled.apply(&lane, "# nothing\n")?,
                    Case::DefaultDrop => ruled.apply_policy(&lane, "default = \"drop\"\n")?,
                    Case::Rules(count, meets) => ruled.apply(&lane, &text::rules(count, meets))?,
                    Case::Limit => ruled.apply(&lane, text::LIMIT)?,
                    Case::RulesAndLimit => {
                        ruled.apply(&lane, &(text::rules(10, Meets::Nothing) + text::LIMIT))?;
                    }
                    Case::Profiles => ruled.apply_policy(&lane, &text::all_profiles())?,
                    Case::BareDrop | Case::None | Case::LruLimiter => {}
                }
                if case == Case::Profiles {
                    notes = Some(ruled.root().to_owned());
                }
                instructions = ruled.info()?.size_translated().map(|bytes| bytes / 8);
                Box::new(ruled)
            }
        };
        Ok(Self { case, filter, lane, notes, instructions })
    }

    /// Has the victim ask each of these hosts, where somebody notes it.
    pub fn ask(&self, hosts: &[Ipv4Addr]) -> Result<()> {
        let Some(root) = &self.notes else { return Ok(()) };
        let asked = Asked::pinned(root)?;
        for host in hosts {
            asked.sends(&packets::question(&self.lane, *host))?;
        }
        let [exchanges, _] = asked.notes()?;
        ensure!(exchanges == hosts.len(), "{exchanges} of {} questions were noted", hosts.len());
        Ok(())
    }
}

fn knows_frags() -> Result<bool> {
    use aya::util::KernelVersion;
    Ok(KernelVersion::current()? >= KernelVersion::new(5, 18, 0))
}

//! Levee as it is shipped: `levee run`, `levee attach`, `levee set import` of a text file. Default switches (every
//! contract check on), native mode. Its program is found by what the controller says of the interface, so it does not
//! matter here how the tables are made.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::ProgramInfo;
use harness::{Levee, LeveeOptions, Sandbox};
use serde_json::Value;

use super::levee_api::Api;
use super::{Edit, Filter, Installed, Program};
use crate::lane::{INTERFACE, Lane};
use crate::list::List;
use crate::memory;

/// The set that the list is imported into.
pub const SET: &str = "bench";

pub struct Controlled {
    levee: Levee,
    frags: bool,
}

impl Controlled {
    pub fn start(sandbox: &Sandbox, lane: &Lane, list: &List, disk: &Path) -> Result<Installed> {
        let file = sandbox.directory("lists")?.join("levee.txt");
        std::fs::write(&file, list.text()).with_context(|| format!("cannot write {}", file.display()))?;
        let name = format!("levee-{}", lane.victim.name());
        let options = LeveeOptions {
            // On a disk, as what is confirmed is on one.
            state: Some(disk.join(&name)),
            // Each start has a state and pins of its own.
            name,
            ..LeveeOptions::default()
        };
        let levee = Levee::start(sandbox, &lane.victim, &options)?;
        levee.ok(&["attach", INTERFACE])?;
        let begun = Instant::now();
        levee.ok(&["set", "import", SET, &file.to_string_lossy(), "--replace"])?;
        let load = begun.elapsed();
        let mut filter = Self { levee, frags: false };
        filter.frags = filter.interface("status")?["frags"] == true;
        Ok(Installed { filter: Box::new(filter), load: Some(load) })
    }

    /// What `levee status` or `levee stats` says of the one interface.
    fn interface(&self, command: &str) -> Result<Value> {
        let mut said = self.levee.json(&[command])?;
        match said["interfaces"].as_array_mut().map(Vec::as_mut_slice) {
            Some([one]) => Ok(one.take()),
            _ => bail!("levee {command} shows not exactly one interface: {said}"),
        }
    }

    fn info(&self) -> Result<ProgramInfo> {
        let id = self.interface("status")?["program_id"].as_u64();
        let id = id.context("levee status tells no program id")?;
        for program in aya::programs::loaded_programs() {
            let program = program.context("cannot list the loaded programs")?;
            if u64::from(program.id()) == id {
                return Ok(program);
            }
        }
        bail!("no program {id} is loaded, though Levee says that it runs")
    }
}

impl Filter for Controlled {
    fn description(&self) -> String {
        let kind = if self.frags { "xdp.frags" } else { "xdp" };
        let version = env!("CARGO_PKG_VERSION");
        format!("levee {version}: `levee run` with one set, {kind}, native, default checks")
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let dropped = self.interface("stats")?["reasons"]["blocked_source"]["packets"].as_u64();
        // Whatever was dropped for another reason shows up as a difference from what was sent.
        dropped.context("levee stats counts no blocked sources").map(Some)
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(Some(Program { fd: self.info()?.fd()?, frags: self.frags }))
    }

    fn memory(&self) -> Result<Option<u64>> {
        memory::of_program(&self.info()?).map(Some)
    }

    fn replace(&self, addresses: &[Ipv4Addr], directory: &Path) -> Result<Option<Duration>> {
        let file = directory.join("replacement.txt");
        let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        std::fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
        let begun = Instant::now();
        self.levee.ok(&["set", "import", SET, &file.to_string_lossy(), "--replace"])?;
        Ok(Some(begun.elapsed()))
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(Some(Box::new(Api::connect(self.levee.socket())?)))
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        // The sandbox takes with it what is left.
        drop(self.levee.cmd(&["detach", "--all"]));
        drop(std::fs::remove_dir_all(self.levee.state()));
    }
}

//! Levee's own program with a policy, put in force without a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};
use aya::programs::{ProgramInfo, Xdp};
use aya_obj::programs::XdpAttachType;
use filter_common::abi::map;
use filter_common::config::Switches;
use filter_common::policy::tables::PolicyTables;
use filter_common::table::Geometry;
use filter_common::verdict::{Reason, Verdict};
use filter_user::interface::InterfaceMode;
use filter_user::tables::{Contents, OnTrial, PrefixTables as _};
use harness::filter::{LiveCounters, Opened};
use harness::policy::{compiled, read, read_rules};
use harness::{Names, Sandbox};

use crate::filter::{Edit, Filter, Program};
use crate::lane::{INTERFACE, Lane};

/// The dataplane on a lane's victim.
pub struct Ruled {
    /// Holds the program on the interface.
    opened: Opened,
    root: PathBuf,
    ifindex: u32,
    frags: bool,
    /// What was compiled; none for no policy.
    pub policy: Option<Arc<PolicyTables>>,
}

impl Ruled {
    /// Attaches without a policy; `name` is unique in the sandbox.
    pub fn attach(sandbox: &Sandbox, lane: &Lane, name: &str) -> Result<Self> {
        let root = sandbox.bpffs().join(name);
        let opened = Opened::at(&root)?;
        let attach = || opened.dataplane().attach(INTERFACE, InterfaceMode::Native, Switches::DEFAULT);
        let report = lane.victim.in_ns(attach).context("cannot attach Levee")?;
        Ok(Self { opened, root, ifindex: report.ifindex, frags: report.frags, policy: None })
    }

    /// Puts rules in force, one a line.
    pub fn apply(&mut self, lane: &Lane, rules: &str) -> Result<()> {
        self.put(lane, compiled(&read_rules(rules)?, &Names::default())?)
    }

    /// Puts a policy in force.
    pub fn apply_policy(&mut self, lane: &Lane, policy: &str) -> Result<()> {
        self.put(lane, compiled(&read(policy)?, &Names::default())?)
    }

    /// Puts compiled tables in force.
    pub fn put(&mut self, lane: &Lane, tables: Arc<PolicyTables>) -> Result<()> {
        let mut contents = Contents::default();
        // As the engine does: a policy that says nothing is none.
        if !tables.is_empty() {
            contents.set_policy(Arc::clone(&tables));
        }
        let opened = &mut self.opened;
        lane.victim
            .in_ns(|| opened.tables.replace(&contents, OnTrial::Ends))
            .context("a policy is refused")?;
        opened.tables.keep();
        self.policy = Some(tables);
        Ok(())
    }

    /// The pin directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was counted for a reason.
    pub fn counted(&self, reason: Reason) -> Result<u64> {
        Ok(LiveCounters::pinned(&self.root, self.ifindex)?.read()?.of(reason).packets)
    }

    /// The pins of the generation in force.
    pub fn generation(&self) -> Result<PathBuf> {
        let entries = std::fs::read_dir(self.root.join("generations"))?.collect::<Result<Vec<_>, _>>()?;
        match &entries[..] {
            [one] => Ok(one.path()),
            entries => bail!("{} generations are pinned, not one", entries.len()),
        }
    }

    /// Where its tables lie.
    pub fn geometry(&self) -> Result<Geometry> {
        let pinned = Map::Array(MapData::from_pin(self.generation()?.join(map::GEOMETRY))?);
        Ok(Array::<_, Geometry>::try_from(pinned)?.get(&0, 0)?)
    }

    /// What the kernel says of the program.
    pub fn info(&self) -> Result<ProgramInfo> {
        let path = self.generation()?.join(self.ifindex.to_string());
        Ok(Xdp::from_pin(path, XdpAttachType::Interface)?.info()?)
    }
}

impl Filter for Ruled {
    fn description(&self) -> String {
        "Levee's dataplane with a policy, native, default checks".to_owned()
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let counters = LiveCounters::pinned(&self.root, self.ifindex)?.read()?;
        let drops = Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
        Ok(Some(drops.map(|reason| counters.of(*reason).packets).sum()))
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(Some(Program { fd: self.info()?.fd()?, frags: self.frags }))
    }

    fn memory(&self) -> Result<Option<u64>> {
        Ok(self.policy.as_deref().map(PolicyTables::bucket_bytes).filter(|bytes| *bytes > 0))
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(None)
    }
}

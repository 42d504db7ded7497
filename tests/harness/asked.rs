//! The program that notes what leaves, run on single frames, on the notes that the filter reads.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use filter_common::abi::{ASKED_PROGRAM, map};
use filter_common::policy::asked::AskedKey;

/// What `TCX_NEXT` is as a program returns it.
const NEXT: u32 = u32::MAX;

/// A key, as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Key(AskedKey);

// SAFETY: it has no padding, and any bytes are a valid value of it.
unsafe impl aya::Pod for Key {}

/// One load of the program.
pub struct Asked {
    ebpf: Ebpf,
    root: PathBuf,
}

impl Asked {
    /// On the maps that are pinned below a pin directory, where a policy that asks is in force.
    ///
    /// # Errors
    /// When there are none, or the kernel refuses the program.
    pub fn pinned(root: &Path) -> Result<Self> {
        let pins = [map::ASKED, map::ASKED_HOSTS, map::WATCHED].map(|name| (name, root.join(name)));
        let mut loader = EbpfLoader::new();
        for (name, path) in &pins {
            ensure!(path.exists(), "{name} is not pinned");
            loader.map_pin_path(name, path);
        }
        let mut ebpf = loader.load(filter_user::object::ASKED).context("cannot load the object")?;
        let program: &mut SchedClassifier =
            ebpf.program_mut(ASKED_PROGRAM).context("no such program")?.try_into()?;
        program.load().context("the kernel refused the program")?;
        Ok(Self { ebpf, root: root.to_owned() })
    }

    /// A frame leaves; it must go on to the next program, as it was.
    ///
    /// # Errors
    /// When it does not, or the kernel does not run the program.
    pub fn sends(&self, frame: &[u8]) -> Result<()> {
        let program = self.ebpf.program(ASKED_PROGRAM).context("no such program")?;
        let program: &SchedClassifier = program.try_into()?;
        let mut bytes = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut bytes), ..TestRunOptions::default() };
        let result = program.test_run(options).context("the kernel did not run the program")?;
        ensure!(result.return_value == NEXT, "the program returned {}", result.return_value);
        ensure!(bytes[..result.data_size_out as usize] == *frame, "the program changed the frame");
        Ok(())
    }

    /// Notes that there are: of exchanges, and of hosts.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn notes(&self) -> Result<[usize; 2]> {
        let count =
            |name| -> Result<usize> { Ok(self.map(name)?.keys().collect::<Result<Vec<_>, _>>()?.len()) };
        Ok([count(map::ASKED)?, count(map::ASKED_HOSTS)?])
    }

    /// Makes every note older by so many nanoseconds.
    ///
    /// # Errors
    /// When a note is younger than that, counted from the start of the machine, or the maps refuse.
    pub fn age(&self, by_ns: u64) -> Result<()> {
        for name in [map::ASKED, map::ASKED_HOSTS] {
            let mut map = self.map(name)?;
            for entry in map.iter().collect::<Result<Vec<_>, _>>()? {
                let (key, at) = entry;
                let at = at.checked_sub(by_ns).context("this machine has not run for as long")?;
                map.insert(key, at, 0)?;
            }
        }
        Ok(())
    }

    /// Removes every note.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn forget(&self) -> Result<()> {
        for name in [map::ASKED, map::ASKED_HOSTS] {
            let mut map = self.map(name)?;
            for key in map.keys().collect::<Result<Vec<_>, _>>()? {
                map.remove(&key)?;
            }
        }
        Ok(())
    }

    fn map(&self, name: &str) -> Result<HashMap<MapData, Key, u64>> {
        Ok(HashMap::try_from(Map::LruHashMap(MapData::from_pin(self.root.join(name))?))?)
    }
}

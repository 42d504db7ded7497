//! Real programs: where they are, and how they are run in a namespace, to their end or until the test ends.
//!
//! Decides: those of the machine come first, then those that `scripts/setup.sh` has unpacked for tests, with the libraries that
//! came along. What is in neither place is a test that is skipped. None of them runs for longer than [`PATIENCE`] when its end
//! is waited for, and none outlives the value that stands for it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use harness::Netns;
use harness::levee::Said;
use harness::suite::Skipped;

/// How long a program may take to do what it is run for.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A program that is there.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// Where it looks for libraries first, if it is not installed.
    libraries: Option<OsString>,
}

impl Program {
    /// The program of that name.
    ///
    /// # Errors
    /// [`Skipped`] where it is not there.
    pub fn find(name: &str) -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        if let Some(path) = first_file(env::split_paths(&path).chain(system), name) {
            return Ok(Self { path, libraries: None });
        }
        let unpacked = unpacked()?;
        let places = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|place| unpacked.join(place));
        let why = || Skipped(format!("{name} is not here, and scripts/setup.sh could not have it"));
        let path = first_file(places, name).with_context(why)?;
        Ok(Self { path, libraries: Some(libraries(&unpacked)?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it in a namespace. `wrapped` is a program with arguments that starts what follows them.
    pub fn command(&self, ns: &Netns, wrapped: &[&str]) -> Command {
        let mut command = match wrapped {
            [] => ns.command(&self.path.to_string_lossy()),
            [program, arguments @ ..] => {
                let mut command = ns.command(program);
                command.args(arguments).arg(&self.path);
                command
            }
        };
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

fn first_file(places: impl IntoIterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    places.into_iter().map(|place| place.join(name)).find(|path| path.is_file())
}

/// Where `scripts/setup.sh` unpacks programs: above the running test, in the directory that cargo builds into.
fn unpacked() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the running program")?;
    let mut places = own.ancestors().map(|place| place.join("tools/programs"));
    places
        .find(|place| place.is_dir())
        .with_context(|| Skipped("scripts/setup.sh has unpacked no programs".to_owned()))
}

/// The directories of libraries below `unpacked`, as the loader wants to be told.
fn libraries(unpacked: &Path) -> Result<OsString> {
    let mut found = Vec::new();
    for place in ["usr/lib", "lib"] {
        for entry in fs::read_dir(unpacked.join(place)).into_iter().flatten() {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-linux-gnu") {
                found.push(path);
            }
        }
    }
    Ok(env::join_paths(found)?)
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Running {
    /// Starts a command; what it writes goes to files of that name.
    pub fn start(mut command: Command, files: &Path) -> Result<Self> {
        let (output, errors) = (files.with_extension("out"), files.with_extension("err"));
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let child =
            command.spawn().with_context(|| format!("cannot start what writes to {}", files.display()))?;
        Ok(Self { child, output, errors })
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Result<Said> {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended()? {
            if Instant::now() > deadline {
                bail!("it took longer than {PATIENCE:?}: {}", self.written());
            }
            std::thread::sleep(POLL);
        }
        let code = self.child.wait()?.code();
        Ok(Said { code, stdout: text(&self.output), stderr: text(&self.errors) })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it has written so far.
    pub fn written(&self) -> String {
        text(&self.errors) + &text(&self.output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

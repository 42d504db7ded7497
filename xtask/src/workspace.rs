//! The workspace on disk, and the programs that every command starts: setup and cargo.
//!
//! Decides how they are started: cargo without the variables that `cargo run` set for xtask, both stopped when xtask
//! is gone. Trusts that xtask runs from the checkout it was compiled in.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, fs, io};

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

const PIN: &str = "scripts/ebpf-toolchain.env";

/// A part of what `scripts/setup.sh` looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What compiling needs.
    Build,
    /// The programs that demo, tests and benchmark call.
    Run,
    /// What `cargo xtask lint` calls.
    Lint,
}

impl Group {
    const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
            Self::Lint => "lint",
        }
    }
}

/// Where things are.
#[derive(Debug)]
pub struct Workspace {
    /// The directory of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Where cargo puts what it builds; absolute.
    pub target: PathBuf,
}

impl Workspace {
    /// The checkout that xtask was compiled in, or, when it has been moved since, the one that cargo runs xtask for.
    ///
    /// # Errors
    /// Neither is there.
    pub fn find() -> Result<Self> {
        let compiled = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or(compiled, PathBuf::from);
        let root = manifest.parent().context("the directory of xtask has no parent")?.to_path_buf();
        if !root.join(PIN).is_file() {
            bail!(
                "{} is not a checkout of Levee (it has no {PIN}): run `cargo xtask` inside one",
                root.display()
            );
        }
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target =
            std::path::absolute(&target).with_context(|| format!("bad CARGO_TARGET_DIR {target:?}"))?;
        Ok(Self { root, target })
    }

    /// Installs what is missing of `groups`; says nothing when nothing is.
    ///
    /// # Errors
    /// Something that is needed cannot be installed; setup has said what and how to help.
    pub fn setup(&self, groups: &[Group]) -> Result<()> {
        let groups: Vec<&str> = groups.iter().copied().map(Group::name).collect();
        // Not tied to xtask's life: a package manager that is killed half-way leaves the machine in need of repair.
        let status = Command::new(self.root.join("scripts/setup.sh"))
            .arg("--only")
            .arg(groups.join(","))
            .env("CARGO_TARGET_DIR", &self.target)
            .status()
            .context("cannot run scripts/setup.sh (it needs bash)")?;
        if !status.success() {
            bail!("setup did not finish; see its message above");
        }
        Ok(())
    }

    /// A cargo command in the workspace's root.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        forget_xtask(&mut command);
        tie_to_xtask(&mut command);
        command
    }

    /// A cargo command of the eBPF toolchain, in the workspace's root.
    ///
    /// # Errors
    /// The file of pins does not name the toolchain.
    pub fn ebpf_cargo(&self, arguments: &[&str]) -> Result<Command> {
        let toolchain = self.ebpf_toolchain()?;
        let mut command = Command::new("rustup");
        command.args(["run", &toolchain, "cargo"]).args(arguments).current_dir(&self.root);
        // Opens -Z build-std on a release compiler.
        command.env("RUSTC_BOOTSTRAP", "1");
        for variable in ["RUSTC", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO"] {
            command.env_remove(variable);
        }
        forget_xtask(&mut command);
        tie_to_xtask(&mut command);
        Ok(command)
    }

    fn ebpf_toolchain(&self) -> Result<String> {
        let path = self.root.join(PIN);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = text.lines().find_map(|line| line.strip_prefix("EBPF_TOOLCHAIN="));
        Ok(name.with_context(|| format!("{PIN} names no EBPF_TOOLCHAIN"))?.trim().to_owned())
    }

    /// The path of a program that cargo built.
    pub fn program(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// Removes the root of the workspace from a path, for messages.
    pub fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// `cargo run` describes xtask in the environment. Build scripts that look at these variables would be run again
/// each time that a plain `cargo build` and a `cargo xtask` alternate.
fn forget_xtask(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME" {
            command.env_remove(OsStr::new(name.as_ref()));
        }
    }
}

/// Has the kernel end the program when xtask is killed.
fn tie_to_xtask(command: &mut Command) {
    let tie = || set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are sound; this is one prctl, without allocation.
    unsafe { command.pre_exec(tie) };
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.status().with_context(|| format!("cannot run {name}"))
}

/// Runs a command that everything after it needs.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn require(command: &mut Command, what: &str) -> Result<()> {
    if !status(command)?.success() {
        bail!("{what} failed; see the messages above");
    }
    Ok(())
}

/// Runs a command whose exit code becomes xtask's.
///
/// # Errors
/// It cannot be started.
pub fn pass_on(command: &mut Command) -> Result<ExitCode> {
    let status = status(command)?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

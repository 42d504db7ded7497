//! `cargo xtask lint`: format, clippy for host and eBPF, licences and advisories, shell scripts.
//!
//! Runs every check, also after one has failed, and says at the end which did.

use std::env::consts::ARCH;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace::{Group, Workspace, status};

/// Check the format, clippy for the host and for eBPF, dependencies, and shell scripts
#[derive(clap::Args)]
#[command(after_help = "Runs all of:
  cargo fmt --check
  cargo clippy -D warnings      for the host's crates, all targets
  cargo clippy -D warnings      for filter-ebpf, by the eBPF toolchain
  cargo deny check              when cargo-deny is installed
  shellcheck                    when it is installed

Example:
  cargo xtask lint")]
pub struct Args {
    /// Let cargo fmt change the files, rather than complain
    #[arg(long)]
    fix_format: bool,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    workspace.setup(&[Group::Build, Group::Lint])?;

    let mut format = workspace.cargo(&["fmt", "--all"]);
    if !args.fix_format {
        format.arg("--check");
    }
    let mut checks = vec![
        ("format", format),
        ("clippy, host", host_clippy(workspace)),
        ("clippy, eBPF", ebpf_clippy(workspace)?),
    ];
    let mut skipped = Vec::new();
    if answers(workspace.cargo(&["deny", "--version"])) {
        checks.push(("dependencies", workspace.cargo(&["deny", "check"])));
    } else {
        skipped.push("dependencies: skipped: cargo-deny is not installed (cargo install cargo-deny)");
    }
    let mut version = Command::new("shellcheck");
    version.arg("--version");
    if answers(version) {
        checks.push(("shell scripts", shellcheck(workspace)?));
    } else {
        skipped.push("shell scripts: skipped: shellcheck is not installed (apt-get install shellcheck)");
    }

    let mut report = Vec::new();
    let mut failed = false;
    for (name, mut check) in checks {
        eprintln!("lint: {name}");
        let good = status(&mut check)?.success();
        failed |= !good;
        report.push(format!("{name}: {}", if good { "ok" } else { "FAILED" }));
    }
    report.extend(skipped.into_iter().map(str::to_owned));
    for line in report {
        println!("lint: {line}");
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn host_clippy(workspace: &Workspace) -> Command {
    let selected =
        ["clippy", "--workspace", "--exclude", "filter-ebpf", "--all-targets", "--", "-D", "warnings"];
    workspace.cargo(&selected)
}

/// With a target directory of its own, for the eBPF toolchain is another rustc; with the flags that aya-build sets.
fn ebpf_clippy(workspace: &Workspace) -> Result<Command> {
    let mut clippy = workspace.ebpf_cargo(&["clippy", "--package", "filter-ebpf", "--bins"])?;
    clippy
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none", "--", "-D", "warnings"])
        .env("CARGO_TARGET_DIR", workspace.target.join("ebpf-lint"))
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{ARCH}\""));
    Ok(clippy)
}

fn shellcheck(workspace: &Workspace) -> Result<Command> {
    let mut check = Command::new("shellcheck");
    check.arg("--external-sources").arg(".ci/run").current_dir(&workspace.root);
    for entry in fs::read_dir(workspace.root.join("scripts")).context("cannot read scripts/")? {
        let path = entry.context("cannot read scripts/")?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            check.arg(workspace.relative(&path));
        }
    }
    Ok(check)
}

/// Is the program there? Its own `--version` decides.
fn answers(mut version: Command) -> bool {
    let quiet = version.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

//! Builds the eBPF objects that the library embeds, with the toolchain that `scripts/setup.sh` prepared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

const PIN: &str = "scripts/ebpf-toolchain.env";

/// The third generation of the instruction set (Linux 5.1), which has operations on 32 bits: without them, LLVM clears the
/// upper half of a register by two shifts after every use, a fifth of the instructions of a search. aya-build has no
/// option for it and replaces `RUSTFLAGS`, so cargo is told by the profile: that of the program, not of what is built
/// for the host.
const GENERATION: [(&str, &str); 3] = [
    ("CARGO_UNSTABLE_PROFILE_RUSTFLAGS", "true"),
    ("CARGO_PROFILE_RELEASE_RUSTFLAGS", "-Ctarget-cpu=v3"),
    ("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_RUSTFLAGS", "-Cdebuginfo=0"),
];

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .context("the crate has no parent directory")?
        .to_path_buf();
    let pins = read_pins(&root.join(PIN))?;
    let toolchain = pins.get("EBPF_TOOLCHAIN").with_context(|| format!("{PIN} names no EBPF_TOOLCHAIN"))?;
    use_tools(&root)?;
    check_toolchain(toolchain)?;

    println!("cargo:rerun-if-changed={}", root.join(PIN).display());
    println!("cargo:rerun-if-changed={}", root.join("filter-common").display());
    let ebpf = root.join("filter-ebpf");
    let ebpf = ebpf.to_str().context("the path of the workspace is not UTF-8")?;
    let package = Package { name: "filter-ebpf", root_dir: ebpf, ..Package::default() };
    build_ebpf([package], Toolchain::Custom(toolchain))
        .context("building the eBPF objects failed; scripts/setup.sh installs what they need")
}

fn read_pins(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

/// Puts the tools that setup installed on the path of the eBPF build, and opens `-Z build-std` for it.
fn use_tools(root: &Path) -> Result<()> {
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_DIR");
    // Cargo's target directory is above OUT_DIR, however it was chosen.
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets no OUT_DIR")?);
    let default = root.join("target");
    let tools = out.ancestors().chain([default.as_path()]).map(|dir| dir.join("tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = tools.filter(|dir| dir.is_dir()).chain(env::split_paths(&path)).collect();
    if !paths.iter().any(|dir| dir.join("bpf-linker").is_file()) {
        bail!("bpf-linker is not installed: run scripts/setup.sh, then build again");
    }
    // SAFETY: a build script starts with one thread, and this one has not started another.
    unsafe {
        env::set_var("PATH", env::join_paths(paths)?);
        env::set_var("RUSTC_BOOTSTRAP", "1");
        for (name, value) in GENERATION {
            env::set_var(name, value);
        }
    }
    Ok(())
}

/// Fails, with the remedy, when rustup does not know the toolchain or it cannot build for eBPF.
fn check_toolchain(name: &str) -> Result<()> {
    let sysroot =
        Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output().context(
            "rustup cannot be run, and the eBPF toolchain is reached through it: see https://rustup.rs",
        )?;
    if !sysroot.status.success() {
        let said = String::from_utf8_lossy(&sysroot.stderr);
        bail!(
            "rustup has no working toolchain {name} ({}): run scripts/setup.sh, then build again",
            said.trim()
        );
    }
    let sysroot =
        PathBuf::from(String::from_utf8(sysroot.stdout).context("the sysroot is not UTF-8")?.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        bail!(
            "the toolchain {name} at {} has no rust-src: run scripts/setup.sh, then build again",
            sysroot.display()
        );
    }
    Ok(())
}

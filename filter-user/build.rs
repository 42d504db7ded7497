//! Builds the eBPF objects that the library embeds, with the toolchain that `scripts/setup.sh` prepared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

const PIN: &str = "scripts/ebpf-toolchain.env";

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .context("the crate has no parent directory")?
        .to_path_buf();
    let pins = read_pins(&root.join(PIN))?;
    let toolchain = pins.get("EBPF_TOOLCHAIN").with_context(|| format!("{PIN} names no EBPF_TOOLCHAIN"))?;
    use_tools(&root)?;

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
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = [target.join("tools/bin")].into_iter().chain(env::split_paths(&path)).collect();
    if !paths.iter().any(|dir| dir.join("bpf-linker").is_file()) {
        bail!("bpf-linker is not installed: run scripts/setup.sh, then build again");
    }
    // SAFETY: a build script starts with one thread, and this one has not started another.
    unsafe {
        env::set_var("PATH", env::join_paths(paths)?);
        env::set_var("RUSTC_BOOTSTRAP", "1");
    }
    Ok(())
}

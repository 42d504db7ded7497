//! Tells bpf-linker, which generates the code, what the target can do.

fn main() {
    // Packet headers lie at odd offsets. The kernel takes unaligned packet access wherever the CPU does (x86-64,
    // arm64), but LLVM assumes the worst and assembles every field from single bytes unless it is told.
    println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    println!("cargo:rerun-if-changed=build.rs");
}

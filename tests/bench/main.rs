//! `levee-bench`: what Levee costs, beside a bare `XDP_DROP`, nft, ipset and xdp-filter, all in one run.
//!
//! Two figures for each filter, list length and kind of traffic: nanoseconds over the floor (for XDP programs) and
//! packets a second that one core takes (for all). The filters stand side by side, each behind its own veth pair, and
//! take turns round by round, so that a machine that changes its pace changes it for all of them.
//!
//! * [`arguments`]: the command line.     * [`run`]: the order of things.
//! * [`filter`]: the filters, one file each.     * [`lane`]: the veth pair that each stands behind.
//! * [`flood`], [`floor`]: the two measurements.     * [`report`]: what was found; JSON.
//! * [`table`], [`markdown`], [`targets`]: the same for people.
//!
//! Trusts nothing that it can count: a round is good only when the filter's own counter, the driver's and the
//! stack's agree to the packet. Needs root; all of it happens in namespaces that end with the process.

mod arguments;
mod filter;
mod flood;
mod floor;
mod lane;
mod machine;
mod markdown;
mod progress;
mod report;
mod run;
mod table;
mod targets;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("levee-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every figure could be verified. A missed target is a finding, not a failure.
fn bench() -> Result<bool> {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the benchmark makes network namespaces and loads eBPF programs, which only root may: \
             run `sudo -E env \"PATH=$PATH\" cargo xtask bench`"
        );
    }
    let report = run::run(&arguments)?;
    let mut text = table::render(&report);
    for path in report.write(&arguments)? {
        text += &format!("written: {}\n", path.display());
    }
    // A reader that has seen enough (`| head`) is no failure: the files are written.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    let wrong = report.unverified();
    for cell in &wrong {
        eprintln!("levee-bench: the counters do not agree: {cell}");
    }
    Ok(wrong.is_empty())
}

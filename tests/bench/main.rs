//! `levee-bench`: what Levee costs, beside a bare `XDP_DROP`, plain XDP programs with the kernel's own maps, xdp-filter,
//! nft and ipset, all in one run.
//!
//! For each list and filter: nanoseconds over the floor (for XDP programs) and packets a second on one core (for all),
//! with every packet a hit and with every packet a miss; what a second core adds; how long a list takes to load, a
//! change takes to be felt, and how many changes there can be; kernel memory. The filters stand side by side, each
//! behind its own veth pair, and take turns round by round, so that a machine that changes its pace changes it for all.
//!
//! * [`arguments`]: the command line. [`run`]: the order of things. [`progress`]: how far they are.
//! * [`list`]: what is blocked, and traffic for it. [`filter`]: the filters, one file each.
//! * [`station`], [`lane`]: a filter and the veth pair that it stands behind.
//! * [`measures`], by way of [`floor`], [`flood`], [`two_floods`] and [`window`], [`latency`], [`updates`], [`memory`].
//! * [`policy`]: what rules and limits cost, beside the same program without them.
//! * [`figure`], [`series`], [`tally`], [`report`]: what was found; JSON. [`targets`]: what was wanted.
//! * [`table`], [`markdown`], [`plot`]: the same for people.
//!
//! Trusts nothing that it can count: a round of floods is good only when the filter's own counter, the driver's and the
//! stack's agree to the packet. Needs root; all of it happens in namespaces that end with the process.

mod arguments;
mod figure;
mod filter;
mod flood;
mod floor;
mod lane;
mod latency;
mod list;
mod machine;
mod markdown;
mod measures;
mod memory;
mod plot;
mod policy;
mod progress;
mod report;
mod run;
mod series;
mod station;
mod table;
mod tally;
mod targets;
mod two_floods;
mod updates;
mod window;

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

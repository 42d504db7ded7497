//! The frame around a test binary of our own (`harness = false`), which shows what it did not test.
//!
//! The built-in one knows passed and failed only once a test runs: a test that finds its captures or its kernel
//! missing would count as passed. Here it is shown as ignored, with the reason, in the default output.

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A test, by name.
pub type Test = (&'static str, fn() -> Result<()>);

/// Why a test did not run: return it as the error. Never for something that should be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Skipped(pub String);

/// Names the tests of a binary, by path.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        &[$((stringify!($test), $test as fn() -> anyhow::Result<()>)),*]
    };
}

/// Runs the tests that the command line selects, as `cargo test` gives it.
#[must_use]
pub fn run(tests: &[Test]) -> ExitCode {
    let trials = tests
        .iter()
        .map(|&(name, test)| Trial::ignorable_test(name.replace(' ', ""), move || completion(test())))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn completion(result: Result<()>) -> Result<Completion, Failed> {
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(skipped) => Ok(Completion::ignored_with(skipped)),
            None => Err(format!("{error:#}").into()),
        },
    }
}

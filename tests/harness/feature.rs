//! Kernel features that a test needs and Levee does not.
//!
//! Decides what the lack of one means: below its first kernel the test is skipped and says so, from that kernel on
//! it fails.

use anyhow::{Context as _, Result};
use aya::util::KernelVersion;

use crate::suite::Skipped;

/// A feature, and the first kernel that has it.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    name: &'static str,
    since: KernelVersion,
}

/// XDP programs that take frames in several buffers.
pub const FRAGS: Feature =
    Feature { name: "XDP programs for frames in several buffers", since: KernelVersion::new(5, 18, 0) };
/// Test runs that are told how much of the frame lies in the first buffer.
pub const LINEAR_SIZE: Feature =
    Feature { name: "test runs with a chosen first buffer", since: KernelVersion::new(6, 18, 0) };

impl Feature {
    /// The result of trying the feature. An error is a skip when the kernel is too old for it.
    ///
    /// # Errors
    /// [`Skipped`] on an older kernel; the error itself, named, on one that has the feature.
    pub fn tried<T>(self, result: Result<T>) -> Result<T> {
        let kernel = KernelVersion::current().context("cannot read the kernel's version")?;
        result.map_err(|error| self.judge(kernel, error))
    }

    fn judge(self, kernel: KernelVersion, error: anyhow::Error) -> anyhow::Error {
        let Self { name, since } = self;
        if kernel < since {
            Skipped(format!("{name} need Linux {since:?} or later; this is {kernel:?}")).into()
        } else {
            error.context(format!("{name} must work on Linux {kernel:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_skip_below_the_first_kernel_and_a_failure_from_it_on() {
        let judged = |kernel| FRAGS.judge(kernel, anyhow::anyhow!("refused"));
        assert!(judged(KernelVersion::new(5, 17, 9)).downcast_ref::<Skipped>().is_some());
        assert!(judged(KernelVersion::new(5, 18, 0)).downcast_ref::<Skipped>().is_none());
    }
}

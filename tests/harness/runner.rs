//! One frame through one loaded program: `BPF_PROG_TEST_RUN`.
//!
//! Decides: nothing; it reports what the program returned and left of the frame. The kernel asks for at least the 14
//! bytes of an Ethernet header.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use filter_common::verdict::Verdict;

/// What an XDP program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The program failed, or a tail call found no target.
    Aborted,
    /// Dropped.
    Drop,
    /// Handed to the stack.
    Pass,
    /// Sent back out.
    Tx,
    /// Sent to another interface.
    Redirect,
}

impl Action {
    fn from_code(code: u32) -> Result<Self> {
        Ok(match code {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            _ => bail!("the program returned {code}, which is no XDP action"),
        })
    }

    /// As Levee's verdict, where it is one.
    #[must_use]
    pub const fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Drop => Some(Verdict::Drop),
            Self::Pass => Some(Verdict::Pass),
            Self::Redirect => Some(Verdict::Redirect),
            Self::Tx => Some(Verdict::Tx),
            Self::Aborted => None,
        }
    }
}

/// What became of the frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the program returned.
    pub action: Action,
    /// The frame as the program left it.
    pub bytes: Vec<u8>,
    /// Average time of a run, to whole nanoseconds.
    pub duration: Duration,
}

/// A run of a program on a frame.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Run<'f> {
    frame: &'f [u8],
    repeat: u32,
    linear: Option<u32>,
}

impl<'f> Run<'f> {
    /// Of this frame, once, in one buffer where a page holds it.
    pub const fn of(frame: &'f [u8]) -> Self {
        Self { frame, repeat: 1, linear: None }
    }

    /// So many times. The program sees the frame as its last run left it.
    pub const fn repeat(self, repeat: u32) -> Self {
        Self { repeat, ..self }
    }

    /// With only the first `bytes` (at least 14) in the linear buffer and the rest in fragments, as drivers deliver
    /// jumbo frames. Only for programs that take such frames (`xdp.frags`), and only since Linux 6.18.
    pub const fn linear(self, bytes: u32) -> Self {
        Self { linear: Some(bytes), ..self }
    }

    /// Runs `program`.
    ///
    /// # Errors
    /// When the program is not loaded, the frame is too short or too long for it, or the kernel is too old.
    pub fn on(self, program: &Xdp) -> Result<Outcome> {
        let context = self.linear.map(xdp_md);
        let mut bytes = vec![0; self.frame.len() + 256];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(self.frame),
                data_out: Some(&mut bytes),
                ctx_in: context.as_ref().map(<[u8; 24]>::as_slice),
                repeat: self.repeat,
                ..TestRunOptions::default()
            })
            .with_context(|| {
                format!(
                    "the kernel did not run the program on {} bytes ({:?})",
                    self.frame.len(),
                    self.linear
                )
            })?;
        bytes.truncate(result.data_size_out as usize);
        Ok(Outcome { action: Action::from_code(result.return_value)?, bytes, duration: result.duration })
    }
}

/// `struct xdp_md` of linux/bpf.h, with only `data_end` set.
fn xdp_md(linear: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&linear.to_ne_bytes());
    context
}

/// Whether a test run ended because a signal came.
pub(crate) fn interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error)
        if error.io_error.kind() == std::io::ErrorKind::Interrupted)
}

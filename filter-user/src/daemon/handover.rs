//! Waiting for what a daemon before this one still holds.
//!
//! A process that was killed keeps its locks and its socket until the kernel has taken it apart, which takes a moment
//! where much memory is mapped. Whoever starts a new daemon then need not know.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::info;

/// How long to wait, for all of it together.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The time that is left to wait.
pub struct Handover {
    /// Set at the first wait.
    deadline: Option<Instant>,
}

impl Handover {
    /// Nobody has been waited for.
    pub const fn new() -> Self {
        Self { deadline: None }
    }

    /// Tries again while somebody else holds it and there is time.
    ///
    /// # Errors
    /// Those of `take`; the last of them, where it is held.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        mut take: impl FnMut() -> Result<T, E>,
        is_held: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        loop {
            match take() {
                Err(held) if is_held(&held) => {
                    let deadline = *self.deadline.get_or_insert_with(|| {
                        info!(
                            "waiting {} s for another levee that may be ending: {held}",
                            PATIENCE.as_secs()
                        );
                        Instant::now() + PATIENCE
                    });
                    if Instant::now() >= deadline {
                        return Err(held);
                    }
                    sleep(PAUSE);
                }
                taken => return taken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_of_in_time_is_taken_and_other_failures_are_not_waited_for() {
        let mut handover = Handover::new();
        let mut held = 3;
        let taken = handover.take(
            || {
                held -= 1;
                if held > 0 { Err("held") } else { Ok(()) }
            },
            |error| *error == "held",
        );
        assert_eq!((taken, held), (Ok(()), 0));
        let began = Instant::now();
        assert_eq!(handover.take(|| Err::<(), _>("broken"), |error| *error == "held"), Err("broken"));
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(handover.take(|| Err::<(), _>("held"), |error| *error == "held"), Err("held"));
    }
}

//! The clock that programs read, beside that of the world.
//!
//! Programs note times of the kernel's monotonic clock, which people cannot read. Both clocks are read at one moment, and what
//! lies between them then is taken to have been there always: where the world's was set since, times are told by how long ago
//! they were.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::trial::now_ns;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    monotonic_ns: u64,
    world: SystemTime,
}

impl Clock {
    /// At this moment.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic_ns: now_ns(), world: SystemTime::now() }
    }

    /// What the world calls a time of the monotonic clock, in nanoseconds. The coarse clock is the same one, some
    /// milliseconds late.
    #[must_use]
    pub fn time(&self, at_ns: u64) -> SystemTime {
        match at_ns.checked_sub(self.monotonic_ns) {
            // Later than the last time that there is: nobody will see it.
            Some(ahead) => self.world.checked_add(Duration::from_nanos(ahead)).unwrap_or(self.world),
            None => {
                let ago = Duration::from_nanos(self.monotonic_ns - at_ns);
                self.world.checked_sub(ago).unwrap_or(UNIX_EPOCH)
            }
        }
    }

    /// Whether a time of the monotonic clock is over.
    #[must_use]
    pub const fn is_over(&self, at_ns: u64) -> bool {
        at_ns <= self.monotonic_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_now_are_as_far_from_now_in_the_world() {
        let clock = Clock { monotonic_ns: 5_000_000_000, world: UNIX_EPOCH + Duration::from_secs(1000) };
        assert_eq!(clock.time(3_000_000_000), UNIX_EPOCH + Duration::from_secs(998));
        assert_eq!(clock.time(9_000_000_000), UNIX_EPOCH + Duration::from_secs(1004));
        assert!(clock.is_over(5_000_000_000) && !clock.is_over(5_000_000_001));
    }
}

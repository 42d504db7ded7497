//! One pure function a stage: what it knows in, `Some(reason)` out when it decides.

pub mod allow;
pub mod block;
pub mod rules;
pub mod sanity;

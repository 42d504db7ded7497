//! What rules decide by: pure functions of a state, the time and a packet.

pub mod classifier;
pub mod limiter;
pub mod limits;
pub mod observed;

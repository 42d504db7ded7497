//! What rules decide by: pure functions of a state, the time and a packet.

pub mod asked;
pub mod claimed;
pub mod classifier;
pub mod facts;
pub mod handed;
#[cfg(any(test, feature = "std"))]
pub mod host;
pub mod limiter;
pub mod limits;
pub mod observed;
pub mod scratch;
pub mod seen;
pub mod syn;
#[cfg(any(test, feature = "std"))]
pub mod tables;

//! What Levee's kernel side and user side agree on, and all of its pure logic.
//!
//! Everything here is `no_std`, owns no socket, no map and no clock, and runs unchanged in two places: inside the
//! XDP program (bound to packet and maps by `filter-ebpf`) and on the host (in tests, and where the controller
//! answers questions about its tables).
//!
//! * the contract: [`abi`], [`verdict`], [`counters`], [`config`], [`keys`], [`twin`];
//! * the logic: [`parse`] turns bytes into [`parse::Headers`], [`table`] finds the longest matching prefix, [`policy`]
//!   decides what rules ask, [`trial`] what a policy on trial must not hold up for long, and [`pipeline`] walks the
//!   stages and ends with one [`verdict::Reason`] a packet.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

pub mod abi;
pub mod config;
pub mod counters;
#[cfg(feature = "harness")]
pub mod harness;
pub mod keys;
pub mod parse;
pub mod pipeline;
#[cfg(feature = "aya")]
mod pod;
pub mod policy;
pub mod stages;
pub mod table;
pub mod trial;
pub mod twin;
pub mod verdict;

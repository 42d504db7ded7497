//! Levee's controller as a library: the daemon and the command line are thin layers over it.
pub mod api;
pub mod cli;
pub mod daemon;
pub mod dataplane;
pub mod engine;
pub mod feeds;
pub mod guard;
pub mod interface;
pub mod object;
mod packet;
pub mod policy;
pub mod tables;

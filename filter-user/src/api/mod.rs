//! The controller's API: HTTP/1.1 and JSON over a unix socket, for the command line and for curl.
//!
//! * [`types`]: what is said, in both directions. Every document carries `schema`.
//! * [`error`]: every refusal, as a status code and one JSON shape.
//! * [`controller`]: what a request does, without HTTP: plain blocking calls.
//! * [`server`]: sockets, limits, time-outs, and [`handlers`] from requests to controller calls.
//! * [`client`]: the same from the other side.
//!
//! Who may open the socket may do everything: its mode and group are the access control, and the peer's user is
//! what provenance records.

mod attach;
mod bans;
pub mod client;
pub mod controller;
mod cuts;
mod dropped;
pub mod error;
mod explain;
mod export;
mod extract;
mod forwarding;
pub mod guards;
mod handlers;
mod pace;
pub mod packets;
pub mod peer;
mod policy;
pub mod problem;
pub mod restore;
pub mod server;
mod sets;
mod syncookies;
mod twins;
pub mod types;
mod upload;

pub(crate) use self::policy::EMPTY;
pub use self::policy::stages;

mod verdict;
mod view;

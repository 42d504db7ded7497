//! Rules in the kernel: what each kind of match holds of, and what each action does.

mod case;

pub mod addresses;
pub mod asked;
pub mod bans;
pub mod bench;
pub mod claimed;
pub mod cookies;
pub mod decisions;
pub mod defend;
pub mod frame;
pub mod frames;
pub mod ip;
pub mod limits;
pub mod messages;
pub mod payload;
pub mod rates;
pub mod redirects;
pub mod samples;
pub mod transport;

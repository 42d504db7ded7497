//! What Levee's kernel tests, its demo and its benchmark are made with. Everything here works on the real kernel
//! and needs root; nothing it makes outlives the thread that made it, even if that is killed.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use harness::{Flood, Frame, Levee, LeveeOptions, Netns, Order, Sandbox, SourcePattern, VethOptions, VethPair};
//!
//! // One line at the top of a test: a mount and a network namespace of its own, with private /run (so that
//! // `ip netns` names and default sockets are private too) and a private bpffs at /sys/fs/bpf.
//! let sandbox = Sandbox::enter("a_flood_is_dropped")?;
//! let attacker = Netns::new(&sandbox, "attacker")?;
//! let victim = Netns::new(&sandbox, "victim")?;
//! let pair = VethPair::new(&attacker, "eth0", &victim, "eth0", &VethOptions {
//!     addresses_a: vec!["192.0.2.1/24".parse()?],
//!     addresses_b: vec!["192.0.2.2/24".parse()?],
//!     ..VethOptions::default()
//! })?;
//!
//! // The real daemon, and the real command line against it.
//! let levee = Levee::start(&sandbox, &victim, &LeveeOptions::default())?;
//! levee.ok(&["attach", "eth0"])?;
//!
//! // A bounded flood of live frames: every frame with its own source.
//! let frame = Frame::eth(pair.a.mac, pair.b.mac)
//!     .ipv4([11, 0, 0, 0], [192, 0, 2, 2])
//!     .udp(53, 4433)
//!     .payload(&[0; 18])
//!     .build();
//! let sources = SourcePattern::hit_v4(1000, Order::Sequential);
//! let report = Flood::new(&frame, sources, 1_000_000)?.run(&attacker, "eth0")?;
//! assert_eq!(report.delivered(), 1_000_000);
//!
//! // Code that must run inside a namespace, or a program that must:
//! let packets = victim.in_ns(|| std::fs::read_to_string("/sys/class/net/eth0/statistics/rx_packets"))?;
//! let mut server = victim.command("python3");
//! # Ok(()) }
//! ```
//!
//! * [`sandbox`], [`netns`], [`veth`]: where things happen.
//! * [`sources`], [`source_table`], [`batch`]: who packets come from; filling maps.
//! * [`packet`]: frames, layer by layer, well-formed unless patched.
//! * [`runner`]: one frame through one loaded program (`BPF_PROG_TEST_RUN`), whole or partly in fragments.
//! * [`flood`], [`counters`]: many live frames from many sources, and what became of them.
//! * [`measure`]: nanoseconds over the floor.
//! * [`levee`]: the real daemon and its command line.
//! * [`asked`]: the program that notes what leaves, run on single frames.
//! * [`data`]: real lists and captures, where somebody has put them.
//! * [`contract`]: every row of the parser contract as a frame and the reason that it must end with.
//! * [`policy`]: the same with a policy, and what its rules counted.
//! * [`filter`]: the real program on a veth, and the one reason that a frame moved.
//! * [`inject`]: frames of any bytes, sent as they are.
//! * [`suite`], [`feature`]: tests that can say that they were skipped, and why.

pub mod asked;
pub mod batch;
pub mod contract;
pub mod counters;
pub mod data;
pub mod defence;
pub mod feature;
pub mod filter;
pub mod flood;
pub mod inject;
pub mod levee;
pub mod measure;
pub mod netns;
pub mod object;
pub mod packet;
pub mod policy;
pub mod runner;
pub mod sandbox;
pub mod source_table;
pub mod sources;
pub mod suite;
pub mod veth;

pub use counters::{CountDrop, PassAll, StackCounter};
pub use filter::{Attached, Probe};
pub use flood::{Flood, FloodReport, Template};
pub use inject::RawSocket;
pub use levee::{Levee, LeveeOptions};
pub use measure::{Measurement, Plan};
pub use netns::Netns;
pub use packet::Frame;
pub use policy::Names;
pub use runner::{Action, Outcome, Run};
pub use sandbox::Sandbox;
pub use source_table::SourceTable;
pub use sources::{Order, SourcePattern};
pub use veth::{VethEnd, VethOptions, VethPair};

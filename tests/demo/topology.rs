//! Where the demo happens: three namespaces and two links, made for this run and gone with it.
//!
//! ```text
//!   listener                attacker (and router)               victim
//!   eth0 192.0.2.2 -------- lan0 192.0.2.1
//!                           eth0 198.51.100.1 ----------------- eth0 198.51.100.2
//! ```
//!
//! The victim has one interface, and the packets of listeners and attackers come in by it: the attacker's namespace
//! stands for everything upstream. It routes what the listener sends, and the flood leaves by the same interface,
//! under another MAC, so that each kind can be counted by itself.
//!
//! Decides: which core does what, in all phases alike. All work of the router and of the victim's driver, where
//! Levee runs, is on the attack's core, as it would be on other machines and on a NIC's receive core. The
//! stack that follows (receive packet steering) is on the serving core. Left alone, a veth runs its receiver on
//! whichever core sent first, and keeps it there as long as packets come: one packet of a listener would pull the
//! whole flood to the serving core, and what that cannot take is lost in the veth's ring of 256 entries, before
//! Levee, packets of listeners among it. So steered, nothing is lost there, with one queue as with two.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use harness::{Netns, Sandbox, VethOptions, VethPair};

use crate::cores::Cores;

/// Interface of the victim, and of the attacker towards it.
pub const INTERFACE: &str = "eth0";
/// Interface of the router towards the listener.
const LAN: &str = "lan0";
/// The victim's addresses.
pub const VICTIM_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The victim's addresses.
pub const VICTIM_V6: Ipv6Addr = Ipv6Addr::new(0xfd51, 0, 0, 0, 0, 0, 0, 2);
/// Port of the victim's server.
pub const PORT: u16 = 8080;

/// The namespaces, with everything in place.
pub struct Topology {
    /// The attacker's namespace, which is also the router.
    pub attacker: Netns,
    /// The victim's.
    pub victim: Netns,
    /// The listener's.
    pub listener: Netns,
    /// MAC of the victim's interface.
    pub victim_mac: [u8; 6],
}

impl Topology {
    /// Makes it.
    ///
    /// # Errors
    /// When `ip` or the kernel refuses.
    pub fn new(sandbox: &Sandbox, cores: Cores) -> Result<Self> {
        let attacker = Netns::new(sandbox, "attacker")?;
        let victim = Netns::new(sandbox, "victim")?;
        let listener = Netns::new(sandbox, "listener")?;
        let uplink = VethOptions {
            addresses_a: vec!["198.51.100.1/24".parse()?, "fd51::1/64".parse()?],
            addresses_b: vec!["198.51.100.2/24".parse()?, "fd51::2/64".parse()?],
            ..VethOptions::default()
        };
        let uplink = VethPair::new(&attacker, INTERFACE, &victim, INTERFACE, &uplink)?;
        let lan = VethOptions {
            macs: [[0x02, 0, 0, 0, 1, 0x0a], [0x02, 0, 0, 0, 1, 0x0b]],
            addresses_a: vec!["192.0.2.1/24".parse()?, "fd52::1/64".parse()?],
            addresses_b: vec!["192.0.2.2/24".parse()?, "fd52::2/64".parse()?],
            ..VethOptions::default()
        };
        VethPair::new(&attacker, LAN, &listener, INTERFACE, &lan)?;
        attacker.sysctl("net/ipv4/ip_forward", "1")?;
        attacker.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        for (ns, family, via) in [
            (&victim, "-4", "198.51.100.1"),
            (&victim, "-6", "fd51::1"),
            (&listener, "-4", "192.0.2.1"),
            (&listener, "-6", "fd52::1"),
        ] {
            ns.run("ip", &[family, "route", "add", "default", "via", via])?;
        }
        // Answers to forged sources end here, without a further answer.
        for family in ["-4", "-6"] {
            attacker.run("ip", &[family, "route", "add", "blackhole", "default"])?;
        }
        Cores::steer(&attacker, LAN, cores.attack)?;
        Cores::steer(&attacker, INTERFACE, cores.attack)?;
        Cores::steer(&victim, INTERFACE, cores.serve)?;
        Cores::steer(&listener, INTERFACE, cores.serve)?;
        Ok(Self { attacker, victim, listener, victim_mac: uplink.b.mac })
    }

    /// Where the listeners find the server: half of them by IPv4, half by IPv6.
    #[must_use]
    pub fn servers() -> [SocketAddr; 2] {
        [IpAddr::from(VICTIM_V4), IpAddr::from(VICTIM_V6)].map(|address| SocketAddr::new(address, PORT))
    }
}

//! A veth pair between two namespaces, quiet enough that a test can count packets exactly.
//!
//! Decides: what the kernel may send by itself. Nothing, by default: no address is generated, announced or probed,
//! no router is sought, and the two ends know each other's addresses, so there is neither ARP nor neighbour
//! discovery. With IPv6 addresses, group membership reports (MLD) are sent as the addresses are added; `new` returns
//! after they have ended.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;

use crate::netns::Netns;

/// How a pair is made.
#[derive(Clone, Debug)]
pub struct VethOptions {
    /// MTU of both ends, in bytes.
    pub mtu: u32,
    /// Receive and transmit queues of each end.
    pub queues: u32,
    /// MACs of the two ends.
    pub macs: [[u8; 6]; 2],
    /// Addresses of the first end.
    pub addresses_a: Vec<IpNet>,
    /// Addresses of the second end.
    pub addresses_b: Vec<IpNet>,
    /// Each end is told the other's MAC for all of its addresses.
    pub neighbours: bool,
    /// Receive offload, which makes a veth deliver redirected frames although no XDP program is attached to it.
    pub gro: bool,
}

impl Default for VethOptions {
    fn default() -> Self {
        Self {
            mtu: 1500,
            queues: 1,
            macs: [[0x02, 0, 0, 0, 0, 0x0a], [0x02, 0, 0, 0, 0, 0x0b]],
            addresses_a: Vec::new(),
            addresses_b: Vec::new(),
            neighbours: true,
            gro: true,
        }
    }
}

/// One end of a pair.
#[derive(Clone, Debug)]
pub struct VethEnd {
    /// Its name, in its namespace.
    pub name: String,
    /// Its index, in its namespace.
    pub index: u32,
    /// Its MAC.
    pub mac: [u8; 6],
}

/// Both ends of a pair, up and running. The pair ends with either namespace.
#[derive(Clone, Debug)]
pub struct VethPair {
    /// The end in the first namespace.
    pub a: VethEnd,
    /// The end in the second namespace.
    pub b: VethEnd,
}

impl VethPair {
    /// Makes a pair: `name_a` in `ns_a` and `name_b` in `ns_b`. Names have at most 15 bytes; each is private to its
    /// namespace, so tests may all use `eth0`.
    ///
    /// # Errors
    /// When `ip` refuses a name, an address or an option, or the link does not come up within five seconds.
    pub fn new(
        ns_a: &Netns,
        name_a: &str,
        ns_b: &Netns,
        name_b: &str,
        options: &VethOptions,
    ) -> Result<Self> {
        let [mac_a, mac_b] = options.macs;
        let VethOptions { mtu, queues, .. } = options;
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        let add = format!(
            "link add name {name_a} mtu {mtu} address {} {queues} type veth peer name {name_b} mtu {mtu} \
             address {} {queues} netns {}\n",
            mac_text(mac_a),
            mac_text(mac_b),
            ns_b.name()
        );
        for ns in [ns_a, ns_b] {
            hush(ns)?;
        }
        ip(ns_a, &add)?;
        let (to_a, to_b) = (&options.addresses_a, &options.addresses_b);
        for (ns, name, own, peer, peer_mac) in
            [(ns_a, name_a, to_a, to_b, mac_b), (ns_b, name_b, to_b, to_a, mac_a)]
        {
            let silent = own.iter().chain(peer).all(|address| matches!(address, IpNet::V4(_)));
            ns.sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), if silent { "1" } else { "0" })?;
            let neighbours = if options.neighbours { peer.as_slice() } else { &[] };
            ip(ns, &addressing(name, own, neighbours, peer_mac)?)?;
            ns.in_ns(|| set_gro(name, options.gro))?;
        }
        let end = |ns: &Netns, name: &str, mac| -> Result<VethEnd> {
            wait_until_up(ns, name)?;
            Ok(VethEnd { name: name.to_owned(), index: ns.interface_index(name)?, mac })
        };
        let pair = Self { a: end(ns_a, name_a, mac_a)?, b: end(ns_b, name_b, mac_b)? };
        wait_until_quiet(ns_a, name_a)?;
        wait_until_quiet(ns_b, name_b)?;
        Ok(pair)
    }
}

/// Tells the kernel to say nothing by itself on interfaces that come into the namespace later.
fn hush(ns: &Netns) -> Result<()> {
    for (name, value) in [
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/autoconf", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
        // 1: no link-local address.
        ("net/ipv6/conf/default/addr_gen_mode", "1"),
        // Reports of a joined group end after milliseconds, not after a second.
        ("net/ipv6/conf/default/mldv1_unsolicited_report_interval", "10"),
        ("net/ipv6/conf/default/mldv2_unsolicited_report_interval", "10"),
    ] {
        ns.sysctl(name, value)?;
    }
    Ok(())
}

fn addressing(name: &str, own: &[IpNet], peer: &[IpNet], peer_mac: [u8; 6]) -> Result<String> {
    let mut script = String::new();
    for address in own {
        let nodad = if matches!(address, IpNet::V6(_)) { " nodad" } else { "" };
        writeln!(script, "address add {address} dev {name}{nodad}")?;
    }
    writeln!(script, "link set {name} up")?;
    for address in peer {
        let (to, mac) = (address.addr(), mac_text(peer_mac));
        writeln!(script, "neighbour replace {to} lladdr {mac} dev {name} nud permanent")?;
    }
    Ok(script)
}

/// Runs a script of `ip` in a namespace.
fn ip(ns: &Netns, script: &str) -> Result<()> {
    let mut child = ns
        .command("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip`: install iproute2")?;
    child.stdin.take().context("the pipe to `ip` is gone")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`ip` refused in {}: {}\n{script}", ns.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn wait_until_up(ns: &Netns, name: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let state: String = ns.read_interface(name, "operstate")?;
        if state == "up" {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{name} in {} is {state:?} after five seconds, not \"up\"", ns.name());
        }
        sleep(Duration::from_millis(5));
    }
}

/// Waits until nothing was sent for a tenth of a second, if the interface speaks IPv6.
fn wait_until_quiet(ns: &Netns, name: &str) -> Result<()> {
    let addresses = ns.in_ns(|| std::fs::read_to_string("/proc/net/if_inet6"))?;
    if !addresses.lines().any(|line| line.split_whitespace().last() == Some(name)) {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut sent: u64 = ns.read_interface(name, "statistics/tx_packets")?;
    loop {
        sleep(Duration::from_millis(100));
        let now = ns.read_interface(name, "statistics/tx_packets")?;
        if now == sent {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{name} in {} goes on sending by itself", ns.name());
        }
        sent = now;
    }
}

/// `ethtool -K NAME gro on|off`, which needs no `ethtool`.
fn set_gro(name: &str, on: bool) -> Result<()> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        value: u32,
    }
    // linux/ethtool.h
    const ETHTOOL_SGRO: u32 = 0x2c;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut setting = EthtoolValue { command: ETHTOOL_SGRO, value: u32::from(on) };
    // SAFETY: an ifreq is plain numbers, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("interface name {name:?} has more than 15 bytes");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut setting).cast();
    // SAFETY: the request and the setting that it points to live until the call returns.
    let result =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot switch generic receive offload of {name}"));
    }
    Ok(())
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

//! Addresses: dnsmasq, which leases and advertises them, and who takes them: udhcpc, and the kernel by router advertisements.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};

use super::{End, Place, passes};
use crate::field::INTERFACE;

/// What udhcpc calls when it has a lease. It touches nothing but the interface.
const TAKE_IT: &str = "#!/bin/sh\n[ \"$1\" != bound ] || exec ip address add \"$ip/24\" dev \"$interface\"\n";

impl Place {
    /// A server at a host, for addresses from 11.0.0.100 up to .120 and for prefixes of 2a00::/64.
    fn dhcp_server(&mut self, end: End) -> Result<()> {
        let leases = format!("--dhcp-leasefile={}", self.home(end)?.join("leases").display());
        let interface = format!("--interface={INTERFACE}");
        let own =
            ["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--pid-file="];
        let what = [
            "--port=0",
            "--no-ping",
            "--dhcp-range=11.0.0.100,11.0.0.120,255.255.255.0,1h",
            "--dhcp-authoritative",
        ];
        let routing =
            ["--enable-ra", "--dhcp-range=2a00::,ra-only,64", "--log-facility=-", &interface, &leases];
        self.serve(end, "dnsmasq", &[&own[..], &what, &routing].concat())?;
        self.wait_until_bound(end, "udp", 67)
    }

    fn addresses(&self, end: End, family: &str) -> Result<String> {
        self.ns(end).run("ip", &[family, "address", "show", "dev", INTERFACE])
    }
}

fn takes_a_lease(place: &mut Place, client: End) -> Result<()> {
    let script = place.field.file("lease.sh", TAKE_IT)?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    place.ns(client).run("ip", &["-4", "address", "flush", "dev", INTERFACE])?;
    let once = ["udhcpc", "-i", INTERFACE, "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", &script];
    place.done(client, "busybox", &once)?;
    let shown = place.addresses(client, "-4")?;
    ensure!(shown.contains("inet 11.0.0.1"), "it has no lease: {shown}");
    place.done(client, "ping", &["-c", "2", "-i", "0.2", "-W", "5", client.other().v4()]).map(drop)
}

/// A link that comes up asks for routers as soon as it has an address to ask from.
fn takes_an_advertised_prefix(place: &mut Place, client: End) -> Result<()> {
    for (name, value) in [("accept_ra", "2"), ("autoconf", "1"), ("router_solicitations", "3")] {
        place.ns(client).sysctl(&format!("net/ipv6/conf/{INTERFACE}/{name}"), value)?;
    }
    for state in ["down", "up"] {
        place.ns(client).run("ip", &["link", "set", INTERFACE, state])?;
    }
    let local = format!("{}/64", client.link_local());
    place.ns(client).run("ip", &["address", "add", &local, "dev", INTERFACE, "nodad"])?;
    place.wait_until("an advertised prefix is taken", |place| {
        Ok(place.addresses(client, "-6")?.contains("scope global dynamic"))
    })?;
    place.done(client, "ping", &["-c", "2", "-i", "0.2", "-W", "5", client.other().v6()]).map(drop)
}

pub fn leases_and_router_advertisements_pass() -> Result<()> {
    End::BOTH.into_iter().try_for_each(|server| {
        passes("dhcp", &["dnsmasq", "busybox", "ping"], |place| {
            place.dhcp_server(server)?;
            takes_a_lease(place, server.other())?;
            takes_an_advertised_prefix(place, server.other())
        })
    })
}

//! Pings and errors: whole and in fragments, from who is on the way, and about paths that take only smaller packets.

use anyhow::{Result, ensure};
use harness::{Netns, VethOptions, VethPair};

use super::web::blob;
use super::{End, Place, passes};
use crate::field::INTERFACE;

/// Behind the other host, which is the router to it.
const BEYOND: [&str; 2] = ["12.0.0.2", "2a01::2"];
/// What the router's link there takes.
const SMALL_MTU: &str = "1400";

pub fn pings_pass() -> Result<()> {
    passes("pings", &["ping"], |place| {
        for end in End::BOTH {
            for address in end.other().addresses() {
                for size in ["56", "3000"] {
                    let said =
                        place.done(end, "ping", &["-c", "3", "-i", "0.2", "-W", "5", "-s", size, address])?;
                    ensure!(said.contains(" 3 received, 0% packet loss"), "{said}");
                }
            }
            let all = ["-c", "2", "-i", "0.2", "-W", "5", "-I", INTERFACE, "ff02::1"];
            let said = place.done(end, "ping", &all)?;
            ensure!(said.contains(&format!("from {}", end.other().link_local())), "{said}");
        }
        Ok(())
    })
}

/// Routers without an IPv4 address of their own send errors from a private one, or from 192.0.0.8 (RFC 7600).
pub fn errors_of_routers_without_a_public_address_pass() -> Result<()> {
    passes("path_private", &["tracepath", "nginx", "curl", "openssl"], |place| {
        let beyond = beyond(place)?;
        let blob = blob(4);
        place.web_server(End::Here, &blob)?;
        let (here, router) = (place.ns(End::Here), place.ns(End::There));
        for from in [None, Some("10.99.0.1/32")] {
            router.run("ip", &["-4", "address", "flush", "dev", INTERFACE])?;
            router.run("ip", &["-4", "address", "flush", "dev", "eth1"])?;
            if let Some(address) = from {
                router.run("ip", &["address", "add", address, "dev", INTERFACE])?;
            }
            let (near, far) = (End::Here.link_local(), "fe80::2");
            let to = |address, via, device| {
                let route = ["-4", "route", "replace", address, "via", "inet6", via, "dev", device];
                router.run("ip", &route).map(drop)
            };
            beyond.run("ip", &["address", "replace", "fe80::2/64", "dev", INTERFACE, "nodad"])?;
            router.run("ip", &["address", "replace", "fe80::1/64", "dev", "eth1", "nodad"])?;
            to(End::Here.v4(), near, INTERFACE)?;
            to(BEYOND[0], far, "eth1")?;
            for (ns, device) in [(here, INTERFACE), (&beyond, INTERFACE)] {
                let router = End::There.link_local();
                ns.run("ip", &["-4", "route", "replace", "default", "via", "inet6", router, "dev", device])?;
            }
            here.run("ip", &["route", "flush", "cache"])?;
            let said = place.done(End::Here, "tracepath", &["-n", "-m", "5", BEYOND[0]])?;
            let error_from = from.map_or("192.0.0.8", |address| address.trim_end_matches("/32"));
            ensure!(said.contains(error_from) && said.contains("pmtu 1400"), "from {error_from}: {said}");
            place.download(&beyond, End::Here.v4(), &blob)?;
        }
        Ok(())
    })
}

/// A network behind the other host.
fn beyond(place: &Place) -> Result<Netns> {
    let router = place.ns(End::There);
    let beyond = Netns::new(&place.field.sandbox, "beyond")?;
    let options = VethOptions {
        macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]],
        addresses_a: vec!["12.0.0.1/24".parse()?, "2a01::1/64".parse()?],
        addresses_b: vec!["12.0.0.2/24".parse()?, "2a01::2/64".parse()?],
        ..VethOptions::default()
    };
    VethPair::new(router, "eth1", &beyond, INTERFACE, &options)?;
    router.run("ip", &["link", "set", "eth1", "mtu", SMALL_MTU])?;
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        router.sysctl(name, value)?;
    }
    for (family, gateway) in [("-4", "12.0.0.1"), ("-6", "2a01::1")] {
        beyond.run("ip", &[family, "route", "add", "default", "via", gateway])?;
    }
    Ok(beyond)
}

pub fn errors_about_the_path_pass() -> Result<()> {
    passes("path", &["ping", "tracepath"], |place| {
        let _beyond = beyond(place)?;
        for address in BEYOND {
            let said = place.ask(End::Here, "ping", &["-c", "1", "-t", "1", "-W", "5", address])?;
            ensure!(said.code == Some(1) && said.stdout.contains("Time "), "no router on the way: {said:?}");
            let said = place.done(End::Here, "tracepath", &["-n", "-m", "5", address])?;
            let found = said.contains("pmtu 1400") && said.contains("reached");
            ensure!(found, "tracepath to {address}: {said}");
        }
        Ok(())
    })
}

pub fn errors_of_closed_ports_pass() -> Result<()> {
    passes("closed", &["curl", "dig"], |place| {
        for end in End::BOTH {
            let other = end.other();
            for host in other.in_url() {
                let said = place.ask(end, "curl", &["-sS", &format!("http://{host}/")])?;
                ensure!(said.code == Some(7), "nothing refused a connection to {host}: {said:?}");
            }
            for address in other.addresses() {
                let server = format!("@{address}");
                let said = place.ask(end, "dig", &["+tries=1", "+time=5", &server, "small.test"])?;
                ensure!(said.stdout.contains("connection refused"), "{said:?}");
            }
        }
        Ok(())
    })
}

/// A client behind a link that takes smaller packets than this host sends: the router tells it to send smaller ones.
pub fn downloads_over_a_path_of_a_smaller_mtu_pass() -> Result<()> {
    passes("path_mtu", &["nginx", "curl", "openssl"], |place| {
        let beyond = beyond(place)?;
        let blob = blob(4);
        place.web_server(End::Here, &blob)?;
        End::Here.in_url().iter().try_for_each(|host| place.download(&beyond, host, &blob))?;
        for address in BEYOND {
            let route = place.ns(End::Here).run("ip", &["route", "get", address])?;
            ensure!(route.contains(&format!("mtu {SMALL_MTU}")), "it was told nothing: {route}");
        }
        Ok(())
    })
}

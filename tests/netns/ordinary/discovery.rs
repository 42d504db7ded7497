//! Services on the link: mDNS by avahi-daemon, SSDP by minissdpd and upnpc. Questions go to a group, answers to it or to who
//! asked.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};

use super::program::{PATIENCE, Running};
use super::{End, Place, passes};
use crate::field::INTERFACE;

const GATEWAY: &str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";

impl Place {
    fn avahi(&mut self, end: End) -> Result<()> {
        self.accounts(end)?;
        let own = self.home(end)?.join("avahi");
        std::fs::create_dir_all(&own)?;
        std::fs::create_dir_all("/run/avahi-daemon")?;
        let configuration = format!(
            "[server]\nhost-name={}\nenable-dbus=no\nuse-ipv4=yes\nuse-ipv6=yes\nallow-interfaces={INTERFACE}\n\
             [publish]\npublish-workstation=no\n[wide-area]\nenable-wide-area=no\n",
            end.name()
        );
        let configuration = self.field.file(&format!("avahi-{}.conf", end.name()), configuration)?;
        // It listens where both hosts have the same directory.
        let bind = format!("mount --bind {} /run/avahi-daemon && exec \"$@\"", own.display());
        let wrapped = ["unshare", "--mount", "sh", "-c", &bind, "sh"];
        let arguments = ["-f", &configuration, "--no-drop-root", "--no-chroot", "--no-rlimits"];
        self.serve_wrapped(end, &wrapped, "avahi-daemon", &arguments)
    }

    /// Asks the daemon of a host for a name, as the name service of libc does.
    fn resolve(&self, end: End, family: &str, name: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.home(end)?.join("avahi/socket"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "RESOLVE-HOSTNAME-{family} {name}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A daemon that answers for a gateway at a host, which it is told of as by `miniupnpd`.
    fn gateway(&mut self, end: End) -> Result<String> {
        let files = ["sock", "pid"].map(|kind| format!("/run/ssdp-{}.{kind}", end.name()));
        self.serve(end, "minissdpd", &["-d", "-i", INTERFACE, "-s", &files[0], "-p", &files[1]])?;
        self.wait_until_bound(end, "udp", 1900)?;
        let place = format!("http://{}:8080/{}.xml", end.v4(), end.name());
        let mut told = vec![4];
        for text in [GATEWAY, &format!("uuid:{}::{GATEWAY}", end.name()), "levee/1", &place] {
            told.push(u8::try_from(text.len())?);
            told.extend_from_slice(text.as_bytes());
        }
        UnixStream::connect(&files[0])?.write_all(&told)?;
        let is_told = |(_, server): &(_, Running)| server.written().contains("request connection closed");
        self.wait_until("the daemon knows the gateway", |place| Ok(place.servers.iter().all(is_told)))?;
        Ok(place)
    }
}

pub fn multicast_dns_passes() -> Result<()> {
    passes("mdns", &["avahi-daemon", "dig"], |place| {
        End::BOTH.into_iter().try_for_each(|end| place.avahi(end))?;
        place.wait_until("names are announced", |place| {
            Ok(place.servers.iter().all(|(_, server)| server.written().contains("Server startup complete")))
        })?;
        for end in End::BOTH {
            let other = end.other();
            let name = format!("{}.local", other.name());
            let v4 = place.resolve(end, "IPV4", &name)?;
            ensure!(v4.contains(other.v4()), "{v4:?}");
            let v6 = place.resolve(end, "IPV6", &name)?;
            ensure!(v6.contains(other.v6()) || v6.contains(other.link_local()), "{v6:?}");
            // Asked from a port of its own, it answers to that.
            let server = format!("@{}", other.v4());
            let said =
                place.done(end, "dig", &["+short", "+tries=1", "+time=5", "-p", "5353", &server, &name])?;
            ensure!(said == format!("{}\n", other.v4()), "{said:?}");
        }
        Ok(())
    })
}

pub fn ssdp_passes() -> Result<()> {
    passes("ssdp", &["minissdpd", "upnpc"], |place| {
        for server in End::BOTH {
            let gateway = place.gateway(server)?;
            // It fails, as nobody describes the gateway that it finds.
            let said = place.ask(server.other(), "upnpc", &["-m", INTERFACE, "-l"])?;
            ensure!(said.stdout.contains(&format!("desc: {gateway}")), "it found no gateway: {said:?}");
            place.end_servers();
        }
        Ok(())
    })
}

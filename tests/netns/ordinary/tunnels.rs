//! Tunnels over UDP: WireGuard, of wireguard-go, and VXLAN, of the kernel; pings and downloads inside them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use harness::suite::Skipped;

use super::program::Program;
use super::web::blob;
use super::{End, Place, passes};
use crate::field::INTERFACE;

/// The interface that a tunnel ends at.
const fn tunnel(end: End) -> &'static str {
    match end {
        End::Here => "tun-here",
        End::There => "tun-there",
    }
}

/// The address in a tunnel; private, as it is in no header that Levee sees.
const fn inside(end: End) -> &'static str {
    match end {
        End::Here => "10.7.0.2",
        End::There => "10.7.0.1",
    }
}

impl Place {
    /// Both ends of a tunnel have addresses and can be used.
    fn tunnel_is_used(&mut self) -> Result<()> {
        for end in End::BOTH {
            let prefix = format!("{}/24", inside(end));
            self.ns(end).run("ip", &["address", "add", &prefix, "dev", tunnel(end)])?;
            self.ns(end).run("ip", &["link", "set", tunnel(end), "up"])?;
        }
        let blob = blob(8);
        for end in End::BOTH {
            let other = inside(end.other());
            self.done(end, "ping", &["-c", "3", "-i", "0.2", "-W", "5", other])?;
            self.web_server(end.other(), &blob)?;
            self.download(self.ns(end), other, &blob)?;
        }
        Ok(())
    }

    /// A key of WireGuard, private and public; the private one in a file.
    fn wireguard_key(&self, end: End) -> Result<(String, String)> {
        let private = self.done(end, "wg", &["genkey"])?;
        let file = self.field.file(&format!("wireguard-{}", end.name()), &private)?;
        let wg = Program::find("wg")?.path().to_string_lossy().into_owned();
        let public = self.done(end, "sh", &["-c", "\"$0\" pubkey < \"$1\"", &wg, &file])?;
        Ok((file, public.trim().to_owned()))
    }
}

pub fn a_wireguard_tunnel_passes() -> Result<()> {
    if !Path::new("/dev/net/tun").exists() {
        return Err(Skipped("there is no /dev/net/tun".to_owned()).into());
    }
    passes("wireguard", &["wireguard-go", "wg", "nginx", "curl", "openssl", "ping"], |place| {
        for end in End::BOTH {
            place.serve(end, "wireguard-go", &["-f", tunnel(end)])?;
            let socket = format!("/var/run/wireguard/{}.sock", tunnel(end));
            place.wait_until("wireguard-go listens", |_| Ok(Path::new(&socket).exists()))?;
        }
        let keys = [place.wireguard_key(End::Here)?, place.wireguard_key(End::There)?];
        for (end, (private, _), (_, public)) in
            [(End::Here, &keys[0], &keys[1]), (End::There, &keys[1], &keys[0])]
        {
            let (peer, endpoint) =
                (format!("{}/32", inside(end.other())), format!("{}:51820", end.other().v4()));
            let own = ["set", tunnel(end), "listen-port", "51820", "private-key", private];
            let peer = ["peer", public, "allowed-ips", &peer, "endpoint", &endpoint];
            place.done(end, "wg", &[&own[..], &peer].concat())?;
        }
        place.tunnel_is_used()
    })
}

pub fn a_vxlan_tunnel_passes() -> Result<()> {
    passes("vxlan", &["nginx", "curl", "openssl", "ping"], |place| {
        for end in End::BOTH {
            let ends = ["local", end.v4(), "remote", end.other().v4(), "dstport", "4789", "dev", INTERFACE];
            let add = [&["link", "add", tunnel(end), "type", "vxlan", "id", "7"], &ends[..]].concat();
            if let Err(error) = place.ns(end).run("ip", &add) {
                let unknown = error.to_string().contains("Unknown device type");
                ensure!(unknown, "{error:#}");
                return Err(error).context(Skipped("this kernel has no VXLAN".to_owned()));
            }
        }
        place.tunnel_is_used()
    })
}

//! QUIC: client and server of ngtcp2.

use anyhow::{Result, ensure};

use super::web::blob;
use super::{End, passes};

pub fn quic_passes() -> Result<()> {
    passes("quic", &["gtlsserver", "gtlsclient", "openssl"], |place| {
        let blob = blob(3);
        let [key, certificate] = place.certificate()?;
        for server in End::BOTH {
            let (client, home) = (server.other(), place.home(server)?);
            std::fs::write(home.join("blob"), &blob)?;
            let home = home.to_string_lossy();
            place.serve(server, "gtlsserver", &["-q", "-d", &home, "*", "443", &key, &certificate])?;
            place.wait_until_bound(server, "udp", 443)?;
            let downloads = place.home(client)?;
            let to = format!("--download={}", downloads.display());
            for address in server.addresses() {
                let url = "https://levee/blob";
                let arguments = ["-q", "--exit-on-all-streams-close", &to, address, "443", url];
                place.done(client, "gtlsclient", &arguments)?;
                let came = downloads.join("blob");
                ensure!(std::fs::read(&came)? == blob, "what came from {address} is not what is there");
                std::fs::remove_file(came)?;
            }
        }
        Ok(())
    })
}

//! The web: nginx and curl.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::Netns;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{End, Place, passes};

const PROGRAMS: [&str; 3] = ["nginx", "curl", "openssl"];
const PAGE: &str = "a page of the web\n";
const MEBIBYTE: usize = 1 << 20;
/// Of the large download.
const LARGE: usize = 64;
/// What curl says of each request: its status, and how many connections it opened for it.
const OF_EACH: &str = "%{http_code} %{num_connects}\n";

/// `mebibytes` of them, none like another.
pub(super) fn blob(mebibytes: usize) -> Vec<u8> {
    let mut block = vec![0; MEBIBYTE];
    StdRng::seed_from_u64(7).fill_bytes(&mut block);
    let mut bytes = Vec::with_capacity(mebibytes * MEBIBYTE);
    for number in 0..mebibytes {
        block[..8].copy_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    bytes
}

impl Place {
    /// A key and a certificate for the addresses of both hosts: their paths.
    pub(super) fn certificate(&self) -> Result<[String; 2]> {
        let directory = self.field.directory()?;
        let [key, certificate] =
            ["key.pem", "cert.pem"].map(|name| directory.join(name).to_string_lossy().into_owned());
        if Path::new(&certificate).exists() {
            return Ok([key, certificate]);
        }
        let addresses = End::BOTH.map(|end| format!("IP:{},IP:{}", end.v4(), end.v6())).join(",");
        let names = format!("subjectAltName={addresses}");
        let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let subject = ["-subj", "/CN=levee", "-addext", &names, "-keyout", &key, "-out", &certificate];
        self.done(End::There, "openssl", &[&["req", "-x509"], &kind[..], &subject].concat())?;
        Ok([key, certificate])
    }

    /// A web server at a host, which has a page and `blob`; its certificate.
    pub(super) fn web_server(&mut self, end: End, blob: &[u8]) -> Result<String> {
        let [key, certificate] = self.certificate()?;
        let home = self.home(end)?;
        std::fs::write(home.join("page"), PAGE)?;
        std::fs::write(home.join("blob"), blob)?;
        let home = home.to_string_lossy();
        let scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let scratch = scratch.map(|name| format!("{name}_temp_path {home}/{name};")).join(" ");
        let configuration = format!(
            "daemon off; master_process off; pid {home}/nginx.pid; events {{}}
            http {{
                access_log off; sendfile on; {scratch}
                server {{
                    listen 80; listen [::]:80; listen 443 ssl http2; listen [::]:443 ssl http2;
                    ssl_certificate {certificate}; ssl_certificate_key {key};
                    root {home};
                }}
            }}"
        );
        let configuration = self.field.file(&format!("nginx-{}.conf", end.name()), configuration)?;
        self.serve(end, "nginx", &["-e", "stderr", "-p", &home, "-c", &configuration])?;
        self.wait_until_bound(end, "tcp", 443)?;
        Ok(certificate)
    }

    /// Fetches `blob` from a host, by its name or address in a URL, and compares it.
    pub(super) fn download(&self, client: &Netns, host: &str, blob: &[u8]) -> Result<()> {
        let to = self.field.directory()?.join("downloaded");
        let url = format!("http://{host}/blob");
        self.done_in(client, "curl", &["-sS", "--fail", "-o", &to.to_string_lossy(), &url])?;
        ensure!(std::fs::read(&to)? == blob, "what came from {url} is not what is there");
        Ok(())
    }
}

pub fn a_web_session_passes() -> Result<()> {
    passes("web", &PROGRAMS, |place| {
        for server in End::BOTH {
            let client = server.other();
            let certificate = place.web_server(server, &blob(1))?;
            for host in server.in_url() {
                let page = format!("http://{host}/page");
                let said = place.done(
                    client,
                    "curl",
                    &[&["-sS", "-w", OF_EACH], &[page.as_str(); 5][..]].concat(),
                )?;
                let expected: Vec<String> =
                    (0..5).map(|number| format!("{PAGE}200 {}\n", u8::from(number == 0))).collect();
                ensure!(said == expected.concat(), "five requests of one connection: {said:?}");
                for version in ["--http1.1", "--http2"] {
                    let page = format!("https://{host}/page");
                    let said =
                        place.done(client, "curl", &["-sS", version, "--cacert", &certificate, &page])?;
                    ensure!(said == PAGE, "{version}: {said:?}");
                }
                place.download(place.ns(client), &host, &blob(1))?;
            }
        }
        Ok(())
    })
}

pub fn a_large_download_with_offloads_passes() -> Result<()> {
    passes("download", &PROGRAMS, |place| {
        let blob = blob(LARGE);
        place.web_server(End::There, &blob)?;
        End::There.in_url().iter().try_for_each(|host| place.download(place.ns(End::Here), host, &blob))
    })
}

//! Names: dnsmasq and dig. Answers that are small, that come in fragments, and that do not fit and are asked for again by TCP.

use anyhow::{Result, ensure};

use super::{End, Place, passes};

const RECORDS: usize = 18;

impl Place {
    /// A name server at a host, which has an address for `small.test` and 3,900 bytes of text for `large.test`.
    fn name_server(&mut self, end: End) -> Result<()> {
        let texts =
            (0..RECORDS).map(|number| format!("--txt-record=large.test,{number:02}{}", "x".repeat(200)));
        let own =
            ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"];
        let rest = ["--group=root", "--pid-file=", "--log-facility=-", "--edns-packet-max=4096"];
        let names = ["--address=/small.test/11.0.0.9".to_owned()];
        let arguments: Vec<String> =
            own.iter().chain(&rest).map(|&it| it.to_owned()).chain(names).chain(texts).collect();
        self.serve(end, "dnsmasq", &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.wait_until_bound(end, "udp", 53)
    }

    /// Asks for all of `large.test` and looks by which protocol it came whole.
    fn large(&self, client: End, server: &str, options: &[&str], protocol: &str) -> Result<()> {
        let question = [&["+tries=1", "+time=5", "-t", "TXT", "large.test", server], options].concat();
        let said = self.done(client, "dig", &question)?;
        let records =
            said.lines().filter(|line| line.starts_with("large.test.") && line.contains("xxx")).count();
        let right = records == RECORDS && said.contains(protocol);
        ensure!(
            right,
            "{options:?} of {server}: {records} records, expected {RECORDS} by {protocol}: {said}"
        );
        Ok(())
    }
}

pub fn answers_of_name_servers_pass() -> Result<()> {
    passes("dns", &["dnsmasq", "dig"], |place| {
        for server in End::BOTH {
            place.name_server(server)?;
            let client = server.other();
            for address in server.addresses() {
                let server = format!("@{address}");
                let said =
                    place.done(client, "dig", &["+short", "+tries=1", "+time=5", &server, "small.test"])?;
                ensure!(said == "11.0.0.9\n", "{server}: {said:?}");
                place.large(client, &server, &["+notcp", "+ignore", "+bufsize=4096"], "(UDP)")?;
                place.large(client, &server, &["+bufsize=1232"], "(TCP)")?;
                place.large(client, &server, &["+tcp"], "(TCP)")?;
            }
        }
        Ok(())
    })
}

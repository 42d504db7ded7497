//! Time: chronyd as server and as client. Neither sets a clock: `-x` and `-Q`.

use anyhow::{Result, ensure};

use super::{End, passes};

pub fn answers_of_time_servers_pass() -> Result<()> {
    passes("ntp", &["chronyd"], |place| {
        for server in End::BOTH {
            let pid = |end: End| format!("pidfile /run/chronyd-{}.pid", end.name());
            let lines = ["local stratum 5", "allow all", "cmdport 0", &pid(server)].map(str::to_owned);
            let file = place.field.file(&format!("chronyd-{}", server.name()), lines.join("\n"))?;
            place.serve(server, "chronyd", &["-x", "-d", "-u", "root", "-f", &file])?;
            place.wait_until_bound(server, "udp", 123)?;
            let client = server.other();
            // From a port of its own, as chronyd does, and from that of the service, as peers and others do.
            for (address, from) in [(server.v4(), 0), (server.v6(), 123)] {
                let source = format!("server {address} iburst maxsamples 1");
                let port = format!("acquisitionport {from}");
                let once = ["-Q", "-t", "10", "-u", "root", "-f", "/dev/null"];
                let lines = [&source, &port, "cmdport 0", &pid(client)];
                let said = place.ask(client, "chronyd", &[&once[..], &lines].concat())?;
                let measured = said.code == Some(0) && said.stderr.contains("System clock wrong by");
                ensure!(measured, "{address} from port {from}: {said:?}");
            }
            // Its port is that of the other's questions.
            place.end_servers();
        }
        Ok(())
    })
}

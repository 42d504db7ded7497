//! SSH: commands and copies, with keys and accounts of the test's own.

use std::path::Path;

use anyhow::{Result, ensure};

use super::program::Program;
use super::web::blob;
use super::{End, Place, passes};

impl Place {
    fn key(&self, name: &str) -> Result<String> {
        let path = self.field.directory()?.join(name).to_string_lossy().into_owned();
        if !Path::new(&path).exists() {
            self.done(End::There, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path])?;
        }
        Ok(path)
    }

    fn ssh_server(&mut self, end: End) -> Result<()> {
        self.accounts(end)?;
        std::fs::create_dir_all("/run/sshd")?;
        let (host, user) = (self.key("host")?, self.key("user")?);
        // The last line ends sessions whose client is gone without a word.
        let configuration = format!(
            "Port 22\nHostKey {host}\nAuthorizedKeysFile {user}.pub\nStrictModes no\nUsePAM no\nPidFile none\n\
             Subsystem sftp internal-sftp\nLoginGraceTime 10\nClientAliveInterval 5\nClientAliveCountMax 1\n"
        );
        let configuration = self.field.file(&format!("sshd-{}", end.name()), configuration)?;
        self.serve(end, "sshd", &["-D", "-e", "-f", &configuration])?;
        self.wait_until_bound(end, "tcp", 22)
    }
}

/// A command, and a file there and back, whichever way the server is addressed.
fn session(place: &Place, server: End, name: &str, in_scp: &str, sent: &[u8]) -> Result<()> {
    let (client, key) = (server.other(), place.key("user")?);
    let known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
    let options = [&["-q", "-F", "none", "-i", &key, "-o", "BatchMode=yes"], &known[..]].concat();
    let login = format!("root@{name}");
    let command = [&options[..], &[&login, "echo", "at", "your", "service"]].concat();
    let said = place.done(client, "ssh", &command)?;
    ensure!(said == "at your service\n", "{said:?}");

    let program = Program::find("ssh")?.path().to_string_lossy().into_owned();
    let copy = [&options[..], &["-S", &program]].concat();
    let (there, back) = (place.home(server)?.join("copy"), place.home(client)?.join("back"));
    let (local, back) = (place.field.file("local", sent)?, back.to_string_lossy());
    let remote = format!("root@{in_scp}:{}", there.display());
    for (from, to) in [(&*local, &*remote), (&remote, &back)] {
        place.done(client, "scp", &[&copy[..], &[from, to]].concat())?;
    }
    ensure!(std::fs::read(&*back)? == sent, "what came back from {name} is not what was sent");
    Ok(std::fs::remove_file(&*back)?)
}

pub fn ssh_sessions_and_copies_pass() -> Result<()> {
    passes("ssh", &["sshd", "ssh", "scp", "ssh-keygen"], |place| {
        let sent = blob(8);
        for server in End::BOTH {
            place.ssh_server(server)?;
            for (name, in_scp) in server.addresses().into_iter().zip(server.in_url()) {
                session(place, server, name, &in_scp, &sent)?;
            }
        }
        Ok(())
    })
}

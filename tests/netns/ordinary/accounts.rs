//! Accounts of the test's own, for servers that change to one or let one in: those of the machine may lack them, or be locked.

use anyhow::Result;
use rustix::mount::mount_bind;

use super::{End, Place};

const GROUPS: &str = "root:x:0:\nsshd:x:65533:\navahi:x:65532:\n";
const PASSWORDS: &str = "root:*:1::::::\nsshd:*:1::::::\navahi:*:1::::::\n";
const OF_SERVERS: &str = "sshd:x:65533:65533::/:/bin/false\navahi:x:65532:65532::/:/bin/false\n";

impl Place {
    /// Gives a host these accounts, in its own mount namespace.
    pub(super) fn accounts(&self, end: End) -> Result<()> {
        let home = self.field.directory()?;
        let users = format!("root:x:0:0::{}:/bin/sh\n{OF_SERVERS}", home.display());
        for (name, text) in [("passwd", &*users), ("group", GROUPS), ("shadow", PASSWORDS)] {
            let own = self.field.file(name, text)?;
            self.ns(end).in_ns(|| mount_bind(own, format!("/etc/{name}")))?;
        }
        Ok(())
    }
}

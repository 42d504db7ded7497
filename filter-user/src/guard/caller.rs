//! The SSH session that a command was typed in.
//!
//! sshd leaves its ends in the environment of the shell, as `SSH_CONNECTION`; sudo takes it out of that of the command,
//! so a process's ancestors are asked as well. A multiplexer that outlives its session still tells of the old one, which
//! guards an address too many.

use std::net::{IpAddr, SocketAddr};

use super::{Session, is_remote, plain, processes};

/// Processes between a command and its shell, and more.
const ANCESTORS: usize = 32;

/// The SSH session that a process runs in, as far as its environment and those of its ancestors can be read.
#[must_use]
pub fn session_of(pid: u32) -> Option<Session> {
    processes::ancestry(pid, ANCESTORS).find_map(|process| {
        let connection = processes::variable(&process, "SSH_CONNECTION")?;
        parse_ssh_connection(connection.to_str()?)
    })
}

/// What `SSH_CONNECTION` says: `client-ip client-port server-ip server-port`. None where it says something else, or where
/// the client is this host.
#[must_use]
pub fn parse_ssh_connection(text: &str) -> Option<Session> {
    let mut words = text.split_ascii_whitespace();
    let mut end = || -> Option<SocketAddr> {
        // The zone of a link-local address is no part of what packets carry.
        let address = words.next()?.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        Some(plain((address, words.next()?.parse().ok()?).into()))
    };
    let (peer, local) = (end()?, end()?);
    (words.next().is_none() && is_remote(peer.ip())).then_some(Session { local, peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_session_are_read_from_what_sshd_says() {
        let read =
            |text: &str| parse_ssh_connection(text).map(|it| (it.peer.to_string(), it.local.to_string()));
        let ends = |peer: &str, local: &str| Some((peer.to_owned(), local.to_owned()));
        assert_eq!(read("192.0.2.7 40000 192.0.2.1 22"), ends("192.0.2.7:40000", "192.0.2.1:22"));
        assert_eq!(
            read("2001:db8::7 40000 2001:db8::1 2222"),
            ends("[2001:db8::7]:40000", "[2001:db8::1]:2222")
        );
        assert_eq!(read("fe80::7%eth0 40000 fe80::1%eth0 22"), ends("[fe80::7]:40000", "[fe80::1]:22"));
        assert_eq!(
            read("::ffff:192.0.2.7 40000 ::ffff:192.0.2.1 22"),
            ends("192.0.2.7:40000", "192.0.2.1:22")
        );
    }

    #[test]
    fn what_is_no_session_from_elsewhere_is_none() {
        for text in [
            "",
            "192.0.2.7",
            "192.0.2.7 40000 192.0.2.1",
            "192.0.2.7 40000 192.0.2.1 22 more",
            "192.0.2.7 70000 192.0.2.1 22",
            "host 40000 192.0.2.1 22",
            "127.0.0.1 40000 127.0.0.1 22",
            "::1 40000 ::1 22",
        ] {
            assert_eq!(parse_ssh_connection(text), None, "{text:?}");
        }
    }
}

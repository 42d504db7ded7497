//! The two hosts and their addresses, which are as on the Internet.

use anyhow::Result;
use ipnet::IpNet;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// That with Levee at its interface.
    Here,
    /// The other.
    There,
}

impl End {
    /// Each of them once, the one there first: as server it is what Levee's host asks.
    pub const BOTH: [Self; 2] = [Self::There, Self::Here];

    /// The one that it talks to.
    pub const fn other(self) -> Self {
        match self {
            Self::Here => Self::There,
            Self::There => Self::Here,
        }
    }

    /// Of its namespace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::There => "there",
        }
    }

    /// Its IPv4 address.
    pub const fn v4(self) -> &'static str {
        match self {
            Self::Here => "11.0.0.2",
            Self::There => "11.0.0.1",
        }
    }

    /// Its IPv6 address.
    pub const fn v6(self) -> &'static str {
        match self {
            Self::Here => "2a00::2",
            Self::There => "2a00::1",
        }
    }

    /// Its address on the link.
    pub const fn link_local(self) -> &'static str {
        match self {
            Self::Here => "fe80::2",
            Self::There => "fe80::1",
        }
    }

    /// Its addresses on the Internet.
    pub const fn addresses(self) -> [&'static str; 2] {
        [self.v4(), self.v6()]
    }

    /// Its addresses as they stand in a URL.
    pub fn in_url(self) -> [String; 2] {
        [self.v4().to_owned(), format!("[{}]", self.v6())]
    }

    /// All its addresses, with the lengths of their networks.
    pub fn prefixes(self) -> Result<Vec<IpNet>> {
        let all =
            [format!("{}/24", self.v4()), format!("{}/64", self.v6()), format!("{}/64", self.link_local())];
        Ok(all.iter().map(|address| address.parse()).collect::<Result<_, _>>()?)
    }
}

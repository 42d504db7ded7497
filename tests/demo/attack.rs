//! The attack: who its sources are, as a list and as a flood.
//!
//! Decides: the shapes of the frames. They are those that get blocked sources past simpler filters, all aimed at the
//! server's address and port, with every checksum right, so that the victim's stack does with them what it would
//! do with a real attack's.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use harness::packet::{Builder, tcp_flag};
use harness::{Flood, Frame, Order, SourcePattern, Template};

use crate::topology::{PORT, VICTIM_V4, VICTIM_V6};

/// MAC of the flood's frames: nobody's, so that they can be told from the router's.
pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x66];

/// What the flood is made of, for people.
pub const SHAPES: &str =
    "UDP and SYN, IPv4 and IPv6: plain, in one VLAN tag, in two, as first and as later fragments";

/// More than any core sends in a second: bounds the flood by count, too.
const MOST_A_SECOND: u64 = 20_000_000;

/// The sources: IPv4 and IPv6, half and half.
pub struct Sources {
    v4: SourcePattern,
    v6: SourcePattern,
}

impl Sources {
    /// `count` of them, at least two.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        let v6 = count / 2;
        Self {
            v4: SourcePattern::hit_v4(count - v6, Order::Random).with_l4_checksum(),
            v6: SourcePattern::hit_v6(v6, Order::Random).with_l4_checksum(),
        }
    }

    /// Writes them as a list, one a line, both families mixed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_list(&self, path: &Path) -> Result<()> {
        let what = || format!("cannot write {}", path.display());
        let mut file = BufWriter::new(File::create_new(path).with_context(what)?);
        writeln!(file, "# {} sources of the demo's attack", self.v4.count() + self.v6.count())
            .with_context(what)?;
        for index in 0..self.v4.count() {
            for address in [self.v4.address(index), self.v6.address(index)].into_iter().flatten() {
                if address.is_ipv4() || index < self.v6.count() {
                    writeln!(file, "{address}").with_context(what)?;
                }
            }
        }
        file.flush().with_context(what)
    }

    /// A flood from all of them, for at most `seconds`.
    ///
    /// # Errors
    /// When a frame cannot be flooded with.
    pub fn flood(&self, victim: [u8; 6], core: usize, seconds: u64) -> Result<Flood> {
        Ok(Flood::of(self.templates(victim), MOST_A_SECOND * seconds)?.cpu(core))
    }

    fn templates(&self, victim: [u8; 6]) -> Vec<Template> {
        let eth = || Frame::eth(MAC, victim);
        let fragments_v4 = udp(v4(eth()).id(0x1ee)).fragments(16);
        let fragments_v6 = udp(v6(eth()).ipv6_fragment(0, true, 0x1ee)).fragments(16);
        let of_v4 = [
            udp(v4(eth())).build(),
            syn(v4(eth())).build(),
            syn(v4(eth())).build(),
            udp(v4(eth().vlan(100))).build(),
            syn(v4(eth().qinq(200).vlan(100))).build(),
            fragments_v4[0].clone(),
            fragments_v4[1].clone(),
        ];
        let of_v6 = [
            udp(v6(eth())).build(),
            syn(v6(eth())).build(),
            syn(v6(eth())).build(),
            syn(v6(eth().vlan(100))).build(),
            udp(v6(eth().qinq(200).vlan(100))).build(),
            fragments_v6[0].clone(),
            fragments_v6[1].clone(),
        ];
        of_v4
            .into_iter()
            .zip(of_v6)
            .flat_map(|(v4, v6)| {
                [Template { frame: v4, sources: self.v4 }, Template { frame: v6, sources: self.v6 }]
            })
            .collect()
    }
}

/// The source is what the flood puts in.
fn v4(frame: Builder) -> Builder {
    frame.ipv4([11, 0, 0, 0], VICTIM_V4)
}

fn v6(frame: Builder) -> Builder {
    frame.ipv6([0; 16], VICTIM_V6)
}

fn udp(frame: Builder) -> Builder {
    frame.udp(53, PORT).payload(&[0; 24])
}

/// As Linux opens a connection: maximum segment size, selective acknowledgement, window scale.
fn syn(frame: Builder) -> Builder {
    frame.tcp(40_000, PORT, tcp_flag::SYN).options(&[2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_list_holds_every_source_of_the_flood_once_and_nothing_else() -> Result<()> {
        for count in [2, 7, 1000] {
            let sources = Sources::new(count);
            let path = std::env::temp_dir().join(format!("levee-demo-list-{}-{count}", std::process::id()));
            sources.write_list(&path)?;
            let text = std::fs::read_to_string(&path);
            std::fs::remove_file(&path)?;
            let text = text?;
            let listed: Vec<IpAddr> =
                text.lines().skip(1).map(str::parse).collect::<std::result::Result<_, _>>()?;
            let flooded: HashSet<IpAddr> = sources.v4.addresses().chain(sources.v6.addresses()).collect();
            assert_eq!(listed.len(), count as usize);
            assert_eq!(listed.into_iter().collect::<HashSet<_>>(), flooded);
        }
        Ok(())
    }

    #[test]
    fn the_flood_can_be_made_of_its_shapes_and_each_family_has_half() -> Result<()> {
        let sources = Sources::new(100);
        let templates = sources.templates([2; 6]);
        let v4 = templates.iter().filter(|template| template.sources == sources.v4).count();
        assert_eq!(v4 * 2, templates.len());
        sources.flood([2; 6], 0, 1).map(drop)
    }
}

//! Bans: who is banned, for how long, and who is not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use filter_common::verdict::Reason;
use harness::contract::{FAMILIES, Policy};
use harness::packet::Family;
use harness::{Frame, Sandbox};

use super::bench::Bench;
use super::frames::{arp, eth, later_fragments, neighbours};

/// A packet of that source to a port that gets it banned, or to one that does not.
fn to_port(family: Family, last: u8, port: u16) -> Frame {
    match family {
        Family::V4 => eth().ipv4([203, 0, 113, last], [198, 51, 100, 1]).udp(7, port).build(),
        Family::V6 => {
            let source = [0x2001, 0xdb8, 7, 0, 0, 0, 0, last.into()];
            eth().ipv6(source, [0x2001, 0xdb8, 9, 0, 0, 0, 0, 1]).udp(7, port).build()
        }
    }
}

pub fn a_ban_is_about_all_of_its_source_and_about_no_other() -> Result<()> {
    use Reason::{AllowedDestination, BannedSource, NoMatch, NonIp, RuleBan};
    let sandbox = Sandbox::enter("bans_source")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("count udp dport 9\nban 1h udp dport 23\n")?;
    for family in FAMILIES {
        bench.expect(&to_port(family, 1, 9), NoMatch, &[0])?;
        bench.expect(&to_port(family, 1, 23), RuleBan, &[1])?;
        // Rules do not see it any more, and so do not count it.
        for port in [9, 23, 80] {
            bench.expect(&to_port(family, 1, port), BannedSource, &[])?;
        }
        for frame in neighbours(family, 9).into_iter().skip(1) {
            bench.expect(&frame, NoMatch, &[])?;
        }
        bench.expect(&arp(), NonIp, &[])?;
    }
    // Fragments of it as well; those of others are not.
    bench.expect(&later_fragments(17)[0], NoMatch, &[])?;
    let fragment = eth().ipv4([203, 0, 113, 1], [198, 51, 100, 1]).fragment(64, false).protocol(17);
    bench.expect(&fragment.payload(&[0; 32]).build(), BannedSource, &[])?;
    // Lists go before bans, too, and a policy without bans has none.
    let allowed = vec!["198.51.100.1/32".parse()?, "2001:db8:9::/48".parse()?];
    bench.contents = Policy { allow_destination: allowed, ..Policy::default() }.contents();
    bench.rules("ban 1h udp dport 23\n")?;
    FAMILIES
        .into_iter()
        .try_for_each(|family| bench.expect(&to_port(family, 1, 23), AllowedDestination, &[]))?;
    bench.contents = Policy::default().contents();
    bench.rules("count\n")?;
    FAMILIES.into_iter().try_for_each(|family| bench.expect(&to_port(family, 1, 23), NoMatch, &[0]))?;
    // It outlives a policy for all that.
    bench.rules("ban 1h udp dport 24\n")?;
    FAMILIES.into_iter().try_for_each(|family| bench.expect(&to_port(family, 1, 9), BannedSource, &[]))
}

pub fn a_ban_ends_when_its_time_is_over() -> Result<()> {
    const TIME: Duration = Duration::from_secs(1);
    let sandbox = Sandbox::enter("bans_end")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("ban 1s udp dport 23\n")?;
    for family in FAMILIES {
        let before = Instant::now();
        bench.expect(&to_port(family, 1, 23), Reason::RuleBan, &[0])?;
        let after = Instant::now();
        loop {
            let start = Instant::now();
            match bench.run(&to_port(family, 1, 9))?.0 {
                Reason::BannedSource => {
                    ensure!(start < after + TIME, "it is banned for longer than {TIME:?}");
                }
                Reason::NoMatch => {
                    break ensure!(Instant::now() >= before + TIME, "it is banned for less than {TIME:?}");
                }
                reason => bail!("{}", reason.name()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // And begins anew.
        bench.expect(&to_port(family, 1, 23), Reason::RuleBan, &[0])?;
        bench.expect(&to_port(family, 1, 9), Reason::BannedSource, &[])?;
    }
    Ok(())
}

pub fn many_sources_are_banned_at_once() -> Result<()> {
    let sandbox = Sandbox::enter("bans_many")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("ban 1h udp dport 53\n")?;
    for family in FAMILIES {
        for frame in neighbours(family, 200) {
            bench.expect(&frame, Reason::RuleBan, &[0])?;
        }
        for frame in neighbours(family, 200) {
            bench.expect(&frame, Reason::BannedSource, &[])?;
        }
        bench.expect(&to_port(family, 201, 9), Reason::NoMatch, &[])?;
    }
    Ok(())
}

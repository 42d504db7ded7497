//! Sources that rules have banned: listed with their end, and let in again by hand.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use filter_common::verdict::Reason;
use filter_user::api::types::BanList;
use harness::Levee;

use crate::field::{Field, INTERFACE, counted, refused, wait_until};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x12];
const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8::7";
const HOUR: Duration = Duration::from_secs(3600);

fn bans(levee: &Levee) -> Result<BanList> {
    Ok(serde_json::from_value(levee.json(&["bans"])?)?)
}

fn banned(levee: &Levee) -> Result<Vec<String>> {
    Ok(bans(levee)?.bans.into_iter().map(|ban| ban.address.to_string()).collect())
}

/// A SYN from each, which no rule here is about; how many of all packets until then were those of banned sources.
fn knock(field: &Field, levee: &Levee, packets: u64) -> Result<u64> {
    let mut raw = field.raw()?;
    for source in [V4, V6] {
        raw.send(&field.syn(MAC, source.parse()?))?;
    }
    Ok(counted(levee, INTERFACE, packets)?.of(Reason::BannedSource).packets)
}

fn get_banned(field: &Field, sources: &[&str]) -> Result<()> {
    let mut raw = field.raw()?;
    for source in sources {
        raw.send(&field.udp(MAC, source.parse::<IpAddr>()?))?;
    }
    Ok(())
}

pub fn bans_of_both_families_are_listed_with_their_end_and_lifted() -> Result<()> {
    let field = Field::new("bans_lifted")?;
    let levee = field.attached("native")?;
    ensure!(levee.ok(&["bans"])? == "no source is banned\n");
    levee.ok(&["apply", &field.file("p", "rules = \"ban 1h udp dport 4433\"\n")?])?;
    let before = SystemTime::now();
    get_banned(&field, &[V4, V6])?;
    ensure!(counted(&levee, INTERFACE, 2)?.of(Reason::RuleBan).packets == 2);
    let list = bans(&levee)?;
    ensure!(list.enforced && banned(&levee)? == [V4, V6], "{list:?}");
    for ban in &list.bans {
        // Documents tell whole seconds.
        let (first, last) = (before + HOUR - Duration::from_secs(1), SystemTime::now() + HOUR);
        ensure!((first..=last).contains(&ban.until.0), "{ban:?} is not an hour after {before:?}");
    }
    let text = levee.ok(&["bans"])?;
    ensure!(text.contains(V4) && text.contains(&list.bans[0].until.to_string()), "{text}");
    ensure!(knock(&field, &levee, 4)? == 2);
    levee.kill9()?;
    let levee = field.levee()?;
    let ends = |list: &BanList| list.bans.iter().map(|ban| ban.until.0).collect::<Vec<_>>();
    for (before, after) in ends(&list).into_iter().zip(ends(&bans(&levee)?)) {
        let between = after.duration_since(before).unwrap_or_else(|error| error.duration());
        ensure!(between <= Duration::from_secs(1), "the end of a ban moved by {between:?}");
    }
    ensure!(banned(&levee)? == [V4, V6], "a restart has lost bans");
    let said = levee.cmd(&["bans", "lift", V4, "192.0.2.99"])?;
    let expected = format!("{V4}: ban lifted\n192.0.2.99: not banned\n");
    ensure!(said.code == Some(0) && said.stdout == expected, "{said:?}");
    ensure!(banned(&levee)? == [V6]);
    ensure!(knock(&field, &levee, 6)? == 3, "of the two only the one that is still banned is dropped");
    for (addresses, word) in [([V6, "198.51.100.0/24"], "198.51.100.0/24"), (["nobody", V6], "nobody")] {
        let said = levee.cmd(&["bans", "lift", addresses[0], addresses[1]])?;
        refused(&said, &["1 of 2 addresses", "nothing was changed", &format!("found `{word}`")])?;
        ensure!(banned(&levee)? == [V6], "a refused command has lifted a ban");
    }
    ensure!(levee.ok(&["bans", "lift", "--all"])? == format!("{V6}: ban lifted\n"));
    ensure!(banned(&levee)?.is_empty());
    ensure!(knock(&field, &levee, 8)? == 3, "nobody is banned any more");
    ensure!(levee.ok(&["bans", "lift", "--all"])? == "no source is banned\n");
    Ok(())
}

pub fn bans_that_are_over_are_not_listed_and_those_that_nobody_looks_at_are_told_so() -> Result<()> {
    let field = Field::new("bans_over")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("1", "rules = \"ban 1h ip udp\\nban 1s ip6 udp\"\n")?])?;
    get_banned(&field, &[V4, V6])?;
    ensure!(counted(&levee, INTERFACE, 2)?.of(Reason::RuleBan).packets == 2);
    ensure!(banned(&levee)?.last().is_some_and(|last| last == V4), "the soonest end goes first");
    wait_until("the short ban is over", || Ok(banned(&levee)? == [V4]))?;
    ensure!(levee.ok(&["bans", "lift", V6])? == format!("{V6}: not banned\n"));
    levee.ok(&["apply", &field.file("2", "rules = \"count tcp\"\n")?])?;
    let list = bans(&levee)?;
    ensure!(!list.enforced && list.bans.len() == 1, "{list:?}");
    ensure!(levee.ok(&["bans"])?.contains("no `ban` rule"));
    ensure!(knock(&field, &levee, 4)? == 0, "a policy without a `ban` rule looks at no bans");
    Ok(())
}

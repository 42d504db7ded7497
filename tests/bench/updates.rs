//! Changes of a list in force: one after the other, and many at once.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::Ipv4Net;

use crate::filter::{Edit, Filter, SPARE};
use crate::list::{List, spare};

/// How long one round of single changes should take.
const ROUND: Duration = Duration::from_millis(150);
const FEWEST: usize = 5;
const MOST: usize = 1000;

/// Single additions a second, round by round: entries of the list are taken out, and put back one by one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of at most a thousand"
)]
pub fn singles(edit: &mut dyn Edit, list: &List, rounds: usize) -> Result<Vec<f64>> {
    let addresses: Vec<IpAddr> = list.v4.iter().take(MOST).map(|net| IpAddr::V4(net.network())).collect();
    let first = addresses.get(..FEWEST.min(addresses.len())).unwrap_or_default();
    let one = again(edit, first)?.as_secs_f64() / first.len() as f64;
    let count = ((ROUND.as_secs_f64() / one) as usize).clamp(first.len(), addresses.len());
    (0..rounds).map(|_| Ok(count as f64 / again(edit, &addresses[..count])?.as_secs_f64())).collect()
}

/// Takes them out, and tells how long it takes to put them back one by one.
fn again(edit: &mut dyn Edit, addresses: &[IpAddr]) -> Result<Duration> {
    for address in addresses {
        edit.remove(*address)?;
    }
    let begun = Instant::now();
    for address in addresses {
        edit.add(*address)?;
    }
    Ok(begun.elapsed())
}

/// Milliseconds that it takes to put another list in the place of the one in force: half of it stays. Two a round, there
/// and back; none where the filter has no way to.
pub fn replacements(filter: &dyn Filter, list: &List, directory: &Path, rounds: usize) -> Result<Vec<f64>> {
    let listed: Vec<Ipv4Addr> = list.v4.iter().map(Ipv4Net::network).collect();
    let new = spare(list.entries() / 2).into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let other: Vec<Ipv4Addr> = listed.iter().copied().skip(listed.len() / 2).chain(new).collect();
    let mut milliseconds = Vec::new();
    for addresses in [&other, &listed].repeat(rounds) {
        let Some(took) = filter.replace(addresses, directory)? else { break };
        milliseconds.push(took.as_secs_f64() * 1e3);
    }
    Ok(milliseconds)
}

/// Milliseconds that [`SPARE`] additions take at once, round by round; none where the filter has no way to.
pub fn transactions(edit: &mut dyn Edit, rounds: usize) -> Result<Vec<f64>> {
    let addresses = spare(SPARE);
    let mut milliseconds = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        if !edit.add_all(&addresses)? {
            break;
        }
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        edit.remove_all(&addresses)?;
    }
    Ok(milliseconds)
}

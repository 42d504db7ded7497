//! The SYN defence in twins: who is let through, gates by the clock of packets, and a socket that is left alone.

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use filter_user::dataplane::{At, Twin, TwinState};
use harness::contract::FAMILIES;
use harness::filter::INTERFACE;
use harness::packet::{Family, tcp_flag};
use harness::{Frame, Sandbox};

use crate::rules::bench::{Bench, SWITCHES};
use crate::rules::defend::{challenged, listener, segment, set_cookies};
use crate::twin::twin_of;

const SECOND: u64 = 1_000_000_000;

fn syn(family: Family) -> Frame {
    segment(family, 443, tcp_flag::SYN, 1)
}

/// The reset that answers the challenge to that SYN: numbers are of addresses and ports, whatever rule asks.
fn reset(bench: &Bench, family: Family) -> Result<Frame> {
    let answer = challenged(bench, &syn(family))?;
    Ok(segment(family, 443, tcp_flag::RST, answer))
}

fn asked(twin: &mut Twin, at: At, frame: &[u8], expected: Reason) -> Result<()> {
    let reason = twin.ask(at, frame)?.reason;
    ensure!(reason == expected, "{}, not {}", reason.name(), expected.name());
    Ok(())
}

pub fn who_answered_a_challenge_is_known_to_a_twin_and_who_answers_a_twin_is_known_there_alone() -> Result<()>
{
    let sandbox = Sandbox::enter("twin_verified")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend verify trust 1h tcp\n")?;
    let [v4, v6] = FAMILIES;
    let resets = [reset(&bench, v4)?, reset(&bench, v6)?];
    let (reason, _) = bench.probe().answer(&resets[0])?;
    ensure!(reason == Reason::SynAnswer, "{}", reason.name());
    let mut now = twin_of(&bench.attached, TwinState::AsNow)?;
    asked(&mut now, At::Now, &syn(v4), Reason::NoMatch)?;
    asked(&mut now, At::Now, &syn(v6), Reason::SynChallenge)?;
    asked(&mut now, At::Now, &resets[1], Reason::SynAnswer)?;
    asked(&mut now, At::Now, &syn(v6), Reason::NoMatch)?;
    // One that begins with nothing knows nobody, nor a secret that anybody has answered.
    let mut fresh = twin_of(&bench.attached, TwinState::Fresh)?;
    asked(&mut fresh, At::Now, &syn(v4), Reason::SynChallenge)?;
    asked(&mut fresh, At::Now, &resets[0], Reason::NoMatch)?;
    ensure!(bench.probe().answer(&syn(v6))?.0 == Reason::SynChallenge, "a twin let a source through");
    Ok(())
}

pub fn resets_are_looked_at_for_as_long_as_a_challenge_may_be_answered() -> Result<()> {
    let sandbox = Sandbox::enter("twin_gates")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend verify tcp\n")?;
    let resets = FAMILIES.map(|family| reset(&bench, family));
    bench.rules("defend verify above 100/s hold 1s tcp\n")?;
    for (family, reset) in FAMILIES.into_iter().zip(resets) {
        let (syn, reset) = (syn(family), reset?);
        for (later_s, expected) in [(0, Reason::SynAnswer), (100, Reason::SynAnswer), (140, Reason::NoMatch)]
        {
            let mut twin = twin_of(&bench.attached, TwinState::AsNow)?;
            asked(&mut twin, At::Capture(0), &reset, Reason::NoMatch).context("the gate was never open")?;
            let said = (0..1_000).map(|_| twin.ask(At::Capture(0), &syn));
            let last = said.last().context("a thousand")??.reason;
            ensure!(last == Reason::SynChallenge, "a thousand at once: {}", last.name());
            let at = At::Capture(later_s * SECOND);
            asked(&mut twin, at, &reset, expected).with_context(|| format!("{later_s} s later"))?;
        }
    }
    Ok(())
}

/// How often the kernel made a cookie, as it says itself.
fn cookies_made(bench: &Bench) -> Result<u64> {
    let text = bench.attached.inside.in_ns(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = both.find(|(name, _)| *name == "TCPReqQFullDoCookies").context("no such counter")?;
    Ok(value.parse()?)
}

pub fn the_kernel_makes_no_cookie_for_a_twin_nor_for_a_rule_that_only_counts() -> Result<()> {
    let sandbox = Sandbox::enter("twin_cookies")?;
    let mut bench = Bench::new(&sandbox)?;
    let (_listener, port) = listener(&bench)?;
    set_cookies(&bench, "2")?;
    for family in FAMILIES {
        let syn = segment(family, port, tcp_flag::SYN, 1);
        let live = |bench: &Bench| {
            let probe = bench.attached.probe()?;
            bench.attached.inside.in_ns(|| {
                // Moved there: it may go to another thread, and not be shared with one.
                let probe = probe;
                Ok::<_, anyhow::Error>(probe.answer(&syn)?.0)
            })
        };
        bench.file("[[rule]]\nrule = \"defend cookie tcp\"\nmode = \"count\"\n")?;
        let before = cookies_made(&bench)?;
        ensure!(live(&bench)? == Reason::NoMatch && cookies_made(&bench)? == before, "it only counts");
        bench.rules("defend cookie tcp\n")?;
        let mut twin = twin_of(&bench.attached, TwinState::AsNow)?;
        let inside = bench.attached.inside.clone();
        let said = inside.in_ns(|| twin.ask(At::Now, &syn))?;
        ensure!(said.reason == Reason::SynCookie, "{}", said.reason.name());
        ensure!(cookies_made(&bench)? == before, "a cookie was made for a twin");
        ensure!(live(&bench)? == Reason::SynCookie && cookies_made(&bench)? == before + 1);
        // Where the kernel makes none at all, a twin lets SYNs through as the program does.
        set_cookies(&bench, "0")?;
        let parts = bench.attached.opened.dataplane().twin_parts(TwinState::AsNow)?;
        let maps = bench.attached.opened.dataplane().open_twin(&parts, INTERFACE, SWITCHES)?;
        let said = inside.in_ns(move || maps.load(&parts)?.ask(At::Now, &syn))?;
        ensure!(said.reason == Reason::NoMatch, "{}", said.reason.name());
        set_cookies(&bench, "2")?;
    }
    Ok(())
}

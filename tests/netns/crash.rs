//! A crash in the middle of a change leaves the old state or the new one, and the tables follow it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use filter_user::api::types::Tested;
use harness::Levee;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::field::{Field, in_block_tables, lines, listed};

/// Prefixes of each list.
const LENGTH: u32 = 20_000;

/// Lists that differ in half of their entries.
fn list(number: u32) -> String {
    lines((0..LENGTH).map(|index| Ipv4Addr::from(0x0b00_0000 + number * LENGTH / 2 + index).into()))
}

/// The kernel tables hold exactly `expected`.
fn tables_are(levee: &Levee, expected: &BTreeSet<String>) -> Result<()> {
    ensure!(in_block_tables(levee)? == (expected.len() as u64, 0), "{:?}", in_block_tables(levee)?);
    let input: String = expected.iter().map(|prefix| format!("{prefix}\n")).collect();
    let said = levee.feed(&["block", "test", "-", "-j"], input.as_bytes())?;
    let tested: Tested = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
    ensure!(
        tested.not_blocked + tested.partly_blocked == 0,
        "{} entries are not in the table",
        tested.not_blocked
    );
    Ok(())
}

pub fn killing_the_daemon_in_an_import_leaves_the_old_list_or_the_new() -> Result<()> {
    let field = Field::new("killed_in_import")?;
    let files: Vec<String> =
        (0..2).map(|number| field.file(&format!("{number}"), list(number))).collect::<Result<_>>()?;
    let sets: Vec<BTreeSet<String>> =
        (0..2).map(|number| list(number).lines().map(|line| format!("{line}/32")).collect()).collect();
    let mut levee = field.attached("native")?;
    levee.ok(&["set", "import", "x", &files[0]])?;
    let mut now = 0;
    let (mut kept, mut taken, mut unknown) = (0, 0, 0);
    let mut random = StdRng::seed_from_u64(11);
    // The kill comes at a random moment; what came of it decides the next one, so that both outcomes are met.
    let mut longest = Duration::from_millis(300);
    for round in 0..12 {
        let next = 1 - now;
        let mut import = levee.command(&["set", "import", "x", &files[next], "--replace"]);
        let mut import = import.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(longest.mul_f64(random.random::<f64>()));
        levee.kill9()?;
        let code = import.wait()?.code();
        levee = field.levee()?;
        let found: BTreeSet<String> = listed(&levee, &["block", "list", "--set", "x"])?.into_iter().collect();
        let which = sets.iter().position(|set| *set == found);
        let which =
            which.with_context(|| format!("round {round}: a third state of {} entries", found.len()))?;
        match code {
            Some(0) => ensure!(which == next, "round {round}: a confirmed import is gone"),
            Some(1) => ensure!(which == now, "round {round}: an import that changed nothing is in force"),
            Some(3) => unknown += 1,
            code => bail!("round {round}: the import ended with {code:?}"),
        }
        tables_are(&levee, &found).with_context(|| format!("round {round}"))?;
        if which == now {
            kept += 1;
            longest = longest.mul_f64(1.5);
        } else {
            taken += 1;
            longest = longest.mul_f64(0.7);
        }
        now = which;
    }
    println!("killed_in_import: {kept} times the old list, {taken} times the new, {unknown} times not told");
    Ok(())
}

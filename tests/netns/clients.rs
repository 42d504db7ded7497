//! Many clients at once: no change is lost, and the kernel's tables are what the sets say.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use harness::Levee;

use crate::field::{Field, in_block_tables, listed};

const CLIENTS: u8 = 8;
const ROUNDS: u8 = 25;

/// One client: adds entries of its own one by one, deletes every second, adds what all add, and lists in between.
fn client(levee: &Levee, number: u8) -> Result<()> {
    for round in 0..ROUNDS {
        let own = format!("10.{number}.{round}.0/24");
        let said = levee.ok(&["block", "add", &own, "203.0.113.7"])?;
        ensure!(said.contains(&format!("{own}: added")), "client {number}: {said}");
        let known = listed(levee, &["block", "list"])?;
        ensure!(known.contains(&own), "client {number} does not see its {own}");
        levee.ok(&["block", "test", &own])?;
        if round % 2 == 1 {
            let said = levee.ok(&["block", "del", &own])?;
            ensure!(said.contains("deleted"), "client {number}: {said}");
            let tested = levee.cmd(&["block", "test", &own])?;
            ensure!(tested.code == Some(1), "client {number}: {tested:?}");
        }
    }
    Ok(())
}

pub fn parallel_clients_lose_no_change() -> Result<()> {
    let field = Field::new("parallel_clients")?;
    let levee = field.attached("native")?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let levee = &levee;
                    move || client(levee, number)
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    let own = (0..CLIENTS)
        .flat_map(|client| (0..ROUNDS).step_by(2).map(move |round| format!("10.{client}.{round}.0/24")));
    let expected: BTreeSet<String> = own.chain(["203.0.113.7/32".to_owned()]).collect();
    let check = |levee: &Levee| -> Result<()> {
        let found: BTreeSet<String> = listed(levee, &["block", "list"])?.into_iter().collect();
        ensure!(found == expected, "lost or kept too much: {:?}", found.symmetric_difference(&expected));
        ensure!(in_block_tables(levee)? == (expected.len() as u64, 0));
        let input: String = expected.iter().map(|prefix| format!("{prefix}\n")).collect();
        let said = levee.feed(&["block", "test", "-"], input.as_bytes())?;
        ensure!(said.code == Some(0), "{}", said.stdout);
        Ok(())
    };
    check(&levee)?;
    // What the clients were told has lasted.
    levee.kill9()?;
    check(&field.levee()?)
}

pub fn imports_adds_and_attachments_at_once_end_in_one_of_their_orders() -> Result<()> {
    let field = Field::new("everything_at_once")?;
    let levee = field.levee()?;
    let list =
        field.file("list", (0..=255_u8).map(|last| format!("198.18.2.{last}\n")).collect::<String>())?;
    let tasks: [&[&str]; 4] = [
        &["set", "import", "x", &list, "--replace"],
        &["block", "add", "198.51.100.1", "--set", "y"],
        &["attach", "eth0"],
        &["detach", "eth0"],
    ];
    std::thread::scope(|scope| {
        let running: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                let levee = &levee;
                scope.spawn(move || (0..10).try_for_each(|_| levee.ok(task).map(drop)))
            })
            .collect();
        running.into_iter().try_for_each(|task| task.join().expect("a client does not panic"))
    })?;
    levee.ok(&["attach", "eth0"])?;
    ensure!(in_block_tables(&levee)? == (257, 0));
    Ok(())
}

//! Lists into sets: what is accepted and counted, and what is refused and changes nothing.

use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use filter_user::api::types::Imported;
use harness::Levee;
use harness::levee::{Said, finish};

use crate::field::{Field, in_block_tables, lines, listed, refused, state, status};

/// Standard output of an import, less what it says of the reading.
fn imports(levee: &Levee, arguments: &[&str], input: &[u8], words: &[&str]) -> Result<()> {
    let said = levee.feed(&[&["set", "import"], arguments].concat(), input)?;
    ensure!(said.code == Some(0), "{arguments:?}: {said:?}");
    for word in words {
        ensure!(said.stdout.contains(word), "{arguments:?}: {:?} does not say {word:?}", said.stdout);
    }
    Ok(())
}

/// The import is refused with these words and changes nothing.
fn refuses(levee: &Levee, arguments: &[&str], input: &[u8], words: &[&str]) -> Result<()> {
    let before = state(levee)?;
    let said = levee.feed(&[&["set", "import"], arguments].concat(), input)?;
    refused(&said, words).with_context(|| format!("set import {}", arguments.join(" ")))?;
    let after = state(levee)?;
    ensure!(after == before, "a refused import changed something: {after}, not {before}");
    Ok(())
}

fn entries(levee: &Levee, set: &str) -> Result<Vec<String>> {
    listed(levee, &["block", "list", "--set", set])
}

pub fn duplicates_and_overlaps_are_fine_and_counted() -> Result<()> {
    let field = Field::new("duplicates")?;
    let levee = field.attached("native")?;
    let list =
        "198.18.2.1\n198.18.2.1/32\n198.18.2.0/24\n2001:db8::/32\n2001:db8::1\n198.18.2.1\n198.51.100.0/25\n";
    let words = ["5 added", "2 duplicates", "2 overlapping", "5 prefixes in the set"];
    imports(&levee, &["x", "-"], list.as_bytes(), &words)?;
    ensure!(in_block_tables(&levee)? == (3, 2), "{:?}", in_block_tables(&levee)?);
    imports(
        &levee,
        &["x", "-"],
        b"198.18.2.1\n203.0.113.1\n",
        &["1 added", "1 already there", "6 prefixes"],
    )?;
    // Another set may hold the same; the tables hold it once.
    imports(&levee, &["y", "-"], b"198.18.2.1\n", &["1 added", "1 prefixes in the set"])?;
    ensure!(in_block_tables(&levee)? == (4, 2));
    levee.ok(&["set", "rm", "x"])?;
    ensure!(in_block_tables(&levee)? == (1, 0) && entries(&levee, "y")? == ["198.18.2.1/32"]);
    levee.ok(&["block", "test", "198.18.2.1"])?;
    Ok(())
}

pub fn every_way_to_write_a_list_is_understood() -> Result<()> {
    let field = Field::new("ways_to_write")?;
    let levee = field.levee()?;
    let text = "\u{feff}# a list\r\n; of everything\r\n198.18.2.1\t7\r\n198.18.2.2 # why\r\n\r\n  198.18.2.3;because\r\n\
                198.18.2.16-198.18.2.31\r\n198.18.2.5 - 198.18.2.6\r\n10.0.0.0/8\r\n2001:DB8::1\r\n2001:db8:1::/48\t3";
    let expected = [
        "10.0.0.0/8",
        "198.18.2.1/32",
        "198.18.2.2/32",
        "198.18.2.3/32",
        "198.18.2.5/32",
        "198.18.2.6/32",
        "198.18.2.16/28",
        "2001:db8::1/128",
        "2001:db8:1::/48",
    ];
    imports(&levee, &["stdin", "-"], text.as_bytes(), &["9 added"])?;
    ensure!(entries(&levee, "stdin")? == expected, "{:?}", entries(&levee, "stdin")?);
    let file = field.file("list.txt", text)?;
    imports(&levee, &["file", &file], b"", &["9 added"])?;
    field.victim.run("gzip", &["-k", &file])?;
    let packed = format!("{file}.gz");
    imports(&levee, &["packed", &packed], b"", &["9 added"])?;
    // It is known by its content, not by its name.
    imports(&levee, &["stdin-packed", "-"], &std::fs::read(&packed)?, &["9 added"])?;
    for set in ["file", "packed", "stdin-packed"] {
        ensure!(entries(&levee, set)? == expected, "{set}");
    }
    Ok(())
}

pub fn a_bad_line_is_named_by_place_and_nothing_changes() -> Result<()> {
    let field = Field::new("a_bad_line")?;
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "192.0.2.1", "--set", "x"])?;
    let file = field.file("bad.txt", "192.0.2.5\n# fine\n  192.0.2.300\n192.0.2.7\n")?;
    let place = format!("{file}:3:3:");
    refuses(&levee, &["x", &file], b"", &[&place, "192.0.2.300", "expected"])?;
    refuses(&levee, &["x", &file, "--replace"], b"", &[&place])?;
    refuses(&levee, &["new", "-"], b"192.0.2.5\nexample.org\n", &["-:2:1:", "example.org", "expected"])?;
    refuses(&levee, &["x", "-"], b"192.0.2.1/24\n", &["-:1:", "192.0.2.1/24", "host bits", "192.0.2.0/24"])?;
    refuses(&levee, &["x", "-"], b"2001:db8::1/32\n", &["-:1:", "host bits", "2001:db8::/32"])?;
    refuses(&levee, &["x", "-"], b"192.0.2.9-192.0.2.1\n", &["-:1:", "192.0.2.9-192.0.2.1"])?;
    refuses(&levee, &["x", "-"], b"192.0.2.1-2001:db8::1\n", &["-:1:", "one address family"])?;
    refuses(&levee, &["x", "-"], b"192.0.2.1/33\n", &["-:1:", "33"])?;
    refuses(&levee, &["x", "-"], b"<html><body>404</body></html>\n", &["HTML"])?;
    refuses(&levee, &["x", "-"], b"", &["no prefix"])?;
    refuses(&levee, &["x", "-"], b"# only\n# words\n", &["no prefix in 2 lines"])?;
    refuses(&levee, &["x", "-"], b"192.0.2.1\n\xff\xfe\n", &["-:2:", "UTF-8"])?;
    refuses(&levee, &["x", "-"], b"\x7fELF\0\0\0", &["expected"])?;
    refuses(&levee, &["x", "-"], b"\x1f\x8b\x08\0\0\0\0\0\0\0trash", &["gzip"])?;
    refuses(&levee, &["x", "/no/such/list"], b"", &["/no/such/list"])?;
    refuses(&levee, &["x", "/"], b"", &["directory"])?;
    refuses(&levee, &["x", "-", "--action", "allow"], b"192.0.2.1\n", &["block", "allow"])?;
    for (usage, word) in [(&["a/b", "-"][..], "a/b"), (&["x", "-", "--destination"], "--action allow")] {
        let said = levee.feed(&[&["set", "import"], usage].concat(), b"192.0.2.1\n")?;
        ensure!(said.code == Some(2) && said.stderr.contains(word), "{said:?}");
    }
    Ok(())
}

pub fn a_truncated_gzip_is_refused() -> Result<()> {
    let field = Field::new("truncated_gzip")?;
    let levee = field.attached("native")?;
    let addresses = (0..5_000_u32).map(|number| std::net::Ipv4Addr::from(0x0b00_0000 + number * 7).into());
    let file = field.file("list.txt", lines(addresses))?;
    field.victim.run("gzip", &[&file])?;
    let packed = std::fs::read(format!("{file}.gz"))?;
    for length in [packed.len() - 1, packed.len() - 9, packed.len() / 2, 20] {
        refuses(&levee, &["x", "-"], &packed[..length], &["gzip", "expected"])?;
    }
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    refuses(&levee, &["x", "-"], &damaged, &["expected"])?;
    imports(&levee, &["x", "-"], &packed, &["5,000 added"])
}

pub fn bad_lines_can_be_skipped_and_are_reported() -> Result<()> {
    let field = Field::new("skip_bad")?;
    let levee = field.levee()?;
    let file = field.file("list.txt", "192.0.2.1\nnonsense\n192.0.2.2/24\n192.0.2.3\n")?;
    let said = levee.cmd(&["set", "import", "x", &file, "--skip-bad"])?;
    ensure!(said.code == Some(0) && said.stdout.contains("2 added, 2 bad lines skipped"), "{said:?}");
    for place in [":2:1:", ":3:"] {
        ensure!(said.stderr.contains(&format!("skipped {file}{place}")), "{}", said.stderr);
    }
    ensure!(entries(&levee, "x")? == ["192.0.2.1/32", "192.0.2.3/32"]);
    refuses(&levee, &["x", "-", "--skip-bad", "--replace"], b"all\nbad\n", &["no prefix", "2 of them bad"])
}

pub fn replace_makes_the_set_the_list() -> Result<()> {
    let field = Field::new("replace")?;
    let levee = field.attached("native")?;
    imports(&levee, &["x", "-"], b"198.18.2.1\n198.18.2.2\n198.18.2.3\n", &["3 added"])?;
    levee.ok(&["block", "add", "198.18.2.1", "--set", "y"])?;
    let words = ["1 added", "1 already there", "2 removed", "2 prefixes in the set"];
    imports(&levee, &["x", "-", "--replace"], b"198.18.2.3\n198.18.2.4\n", &words)?;
    ensure!(entries(&levee, "x")? == ["198.18.2.3/32", "198.18.2.4/32"]);
    ensure!(in_block_tables(&levee)? == (3, 0), "another set keeps what it shares");
    let tested = levee.cmd(&["block", "test", "198.18.2.1", "198.18.2.2", "198.18.2.3", "198.18.2.4"])?;
    ensure!(tested.code == Some(1) && tested.stdout.contains("3 blocked, 1 not blocked"), "{tested:?}");
    ensure!(tested.stdout.contains("198.18.2.1 blocked by 198.18.2.1/32 (set y)"), "{tested:?}");
    Ok(())
}

pub fn a_dry_run_tells_what_the_import_makes_of_the_kernels_tables() -> Result<()> {
    let field = Field::new("dry_run")?;
    let levee = field.levee_with(&["--max-memory", "8MiB"])?;
    levee.ok(&["attach", "eth0"])?;
    let list = |count: u32| {
        lines((0..count).map(|host| std::net::Ipv4Addr::from_bits(0x0b00_0000 + host * 7919).into()))
    };
    let (few, many) = (field.file("few", list(3_000))?, field.file("many", list(50_000))?);
    imports(&levee, &["x", &few], b"", &["3,000 added"])?;
    let before = state(&levee)?;
    let text = levee.ok(&["set", "import", "x", &many, "--replace", "--dry-run"])?;
    let words =
        ["47,000 would be added", "3,000 already there", "while both are there", "nothing was changed"];
    ensure!(words.iter().all(|word| text.contains(word)), "{text}");
    let plan = |arguments: &[&str]| -> Result<Imported> {
        let planned = levee.json(&[&["set", "import", "x"], arguments, &["--dry-run"]].concat())?;
        ensure!(planned["schema"] == 1, "{planned}");
        Ok(serde_json::from_value(planned)?)
    };
    let in_place = plan(&[&few])?.memory.context("a dry run tells the memory")?;
    ensure!(!in_place.replaces_tables && in_place.after == in_place.now, "{in_place:?}");
    let planned = plan(&[&many, "--replace"])?;
    ensure!(state(&levee)? == before, "a dry run changed something");
    let bad = field.file("bad", "192.0.2.1\noops\n")?;
    refused(&levee.cmd(&["set", "import", "x", &bad, "--dry-run"])?, &["bad:2:1", "oops"])?;
    let huge = field.file("huge", list(400_000))?;
    refused(&levee.cmd(&["set", "import", "x", &huge, "--dry-run"])?, &["the limit is 8 MiB"])?;
    ensure!(state(&levee)? == before, "a refused dry run changed something");

    let done: Imported = serde_json::from_value(levee.json(&["set", "import", "x", &many, "--replace"])?)?;
    ensure!(Imported { dry_run: true, memory: planned.memory, ..done } == planned, "{planned:?}");
    let memory = planned.memory.context("a dry run tells the memory")?;
    let now = status(&levee)?.memory.context("a daemon knows its tables")?;
    ensure!(now.tables == memory.after && now.limit == memory.limit, "{now:?}, not {memory:?}");
    ensure!(memory.replaces_tables && memory.peak == memory.now + memory.after, "{memory:?}");
    // The same by itself, without a daemon.
    let checked = field.alone(&["check", &many, "-j"])?;
    let checked: serde_json::Value = serde_json::from_str(&checked.stdout)?;
    ensure!(checked["total"]["memory"] == now.tables, "{checked}");
    Ok(())
}

pub fn a_dry_run_of_what_may_not_fit_promises_nothing() -> Result<()> {
    let field = Field::new("may_not_fit")?;
    let networks = |count: u32| {
        (0..count).fold(String::new(), |text, number| text + &format!("2001:db8:{number:x}::/48\n"))
    };
    let (few, many) = (field.file("few", networks(100))?, field.file("many", networks(4_000))?);
    let levee = field.levee_with(&["--max-memory", "7280000"])?;
    levee.ok(&["attach", "eth0"])?;
    let before = state(&levee)?;
    let words = ["it may be refused", "new ones would take", "the limit is", "--max-memory"];
    refused(&levee.cmd(&["set", "import", "x", &many, "--dry-run"])?, &words)?;
    refused(&levee.cmd(&["set", "import", "x", &many])?, &["the tables would take"])?;
    ensure!(state(&levee)? == before, "a refusal changed something");
    levee.ok(&["set", "import", "x", &few, "--dry-run"])?;
    levee.ok(&["set", "import", "x", &few])?;
    levee.kill9()?;

    let levee = field.levee_with(&["--max-memory", "16MiB"])?;
    let text = levee.ok(&["set", "import", "x", &many, "--dry-run"])?;
    ensure!(text.contains("no more after it if they have room for it, else new ones of"), "{text}");
    let planned = levee.json(&["set", "import", "x", &many, "--dry-run"])?;
    let planned: Imported = serde_json::from_value(planned)?;
    let memory = planned.memory.context("a dry run tells the memory")?;
    levee.ok(&["set", "import", "x", &many])?;
    let now = status(&levee)?.memory.context("a daemon knows its tables")?.tables;
    ensure!(!memory.replaces_tables && now > memory.now, "it was made in place: {now}, {memory:?}");
    ensure!(now == memory.made_anew && memory.after == now, "{now}, not {memory:?}");
    ensure!(memory.peak == memory.now + now, "{memory:?}");
    Ok(())
}

pub fn a_list_that_does_not_fit_is_refused() -> Result<()> {
    let field = Field::new("does_not_fit")?;
    let levee = field.levee_with(&["--max-memory", "7MiB"])?;
    levee.ok(&["attach", "eth0"])?;
    let list = |count: u32| {
        lines((0..count).map(|host| std::net::Ipv4Addr::from_bits(0x0b00_0000 + host * 7919).into()))
    };
    imports(&levee, &["x", "-"], list(60).as_bytes(), &["60 added"])?;
    let before = state(&levee)?;
    let words = ["the tables would take", "the limit is 7 MiB", "--max-memory"];
    refuses(&levee, &["y", "-"], list(400_000).as_bytes(), &words)?;
    refuses(&levee, &["x", "-", "--replace"], list(400_000).as_bytes(), &words)?;
    ensure!(state(&levee)? == before, "a refusal changed something");
    imports(&levee, &["x", "-", "--replace"], list(50).as_bytes(), &["0 added", "10 removed"])?;
    imports(&levee, &["z", "-"], b"192.0.2.77\n2001:db8::/32\n", &["2 added"])?;
    ensure!(in_block_tables(&levee)? == (51, 1));
    Ok(())
}

pub fn adopted_tables_that_take_more_than_they_may_are_warned_of() -> Result<()> {
    let field = Field::new("adopted_above_the_limit")?;
    let levee = field.attached("native")?;
    let list = |first: u32| {
        let host = |host: u32| std::net::Ipv4Addr::from_bits(0x0b00_0000 + host * 7919 + first).into();
        lines((0..300_000).map(host))
    };
    imports(&levee, &["x", "-"], list(0).as_bytes(), &["300,000 added"])?;
    levee.kill9()?;
    let levee = field.levee_with(&["--max-memory", "7MiB"])?;
    let warnings = status(&levee)?.controller.warnings;
    let told = |text: &str| text.contains("--max-memory is 7 MiB");
    ensure!(warnings.len() == 1 && told(&warnings[0]), "{warnings:?}");
    ensure!(levee.log().lines().any(|line| line.contains("WARN") && told(line)), "{}", levee.log());
    // What is in force goes on, and what takes less comes into force.
    levee.ok(&["block", "test", "11.0.0.0"])?;
    refuses(&levee, &["y", "-"], list(1).as_bytes(), &["the limit is 7 MiB"])?;
    imports(&levee, &["x", "-", "--replace"], b"198.18.2.1\n198.18.2.2\n", &["300,000 removed"])?;
    ensure!(status(&levee)?.controller.warnings.is_empty());
    Ok(())
}

/// Output of a shell pipeline into `levee set import x -`.
fn pipeline(field: &Field, levee: &Levee, source: &str) -> Result<Said> {
    let import = levee.command(&["set", "import", "x", "-"]);
    let mut shell: Command = field.victim.command("sh");
    shell.args(["-c", &format!("{source} | \"$@\""), "sh"]).arg(import.get_program()).args(import.get_args());
    finish(shell, &[])
}

pub fn lists_without_end_are_refused_in_bounded_memory() -> Result<()> {
    let field = Field::new("without_end")?;
    let mut levee = field.attached("native")?;
    levee.ok(&["block", "add", "192.0.2.1", "--set", "x"])?;
    let before = state(&levee)?;
    let long = "x".repeat(4000);
    for (source, word) in [
        ("yes 192.0.2.1".to_owned(), "more than"),
        (format!("yes '# {long}'"), "more than"),
        ("yes 0.0.0.1-255.255.255.254".to_owned(), "more than"),
        ("yes | tr -d '\\n'".to_owned(), "line of more than"),
        ("cat /dev/zero".to_owned(), "byte 0x00"),
        (format!("yes '# {long}' | head -c 400000000 | gzip -1"), "more than"),
    ] {
        let said = pipeline(&field, &levee, &source)?;
        let shown: String = source.chars().take(30).collect();
        refused(&said, &[word, "expected"]).with_context(|| shown.clone())?;
        ensure!(levee.is_running()?, "{shown} ended the daemon");
        ensure!(state(&levee)? == before, "{shown} changed something");
    }
    let peak = levee.peak_memory()?;
    ensure!(peak < 1 << 30, "the daemon had {} MiB resident", peak >> 20);
    Ok(())
}

pub fn a_file_of_ten_gigabytes_is_refused() -> Result<()> {
    let field = Field::new("ten_gigabytes")?;
    let levee = field.attached("native")?;
    let path = field.file("huge.txt", "192.0.2.1\n")?;
    File::options().write(true).open(&path)?.set_len(10 << 30)?;
    refuses(&levee, &["x", &path], b"", &[&path, "10,737,418,240 bytes", "256 MiB"])?;
    let before = state(&levee)?;
    let mut import = levee.command(&["set", "import", "x", "-"]);
    let output = import.stdin(File::open(&path)?).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("byte 0x00"), "{said}");
    ensure!(state(&levee)? == before);
    ensure!(levee.peak_memory()? < 1 << 30);
    Ok(())
}

pub fn a_set_that_is_exported_can_be_checked_and_imported_again() -> Result<()> {
    let field = Field::new("export")?;
    let levee = field.attached("native")?;
    let list = "11.0.0.1\n198.18.2.0/24\n2001:db8::1\n2001:db8:1::/48\n";
    imports(&levee, &["x", "-", "--ttl", "1h"], list.as_bytes(), &["4 added"])?;
    let exported = levee.ok(&["set", "export", "x"])?;
    ensure!(exported == list, "{exported}");
    let checked = levee.feed(&["check", "-"], exported.as_bytes())?;
    ensure!(checked.code == Some(0), "{checked:?}");
    imports(&levee, &["x", "-", "--replace"], exported.as_bytes(), &["4 prefixes in the set"])?;
    let json = levee.json(&["set", "export", "x"])?;
    ensure!(json["entries"].as_array().is_some_and(|entries| entries.len() == 4), "{json}");
    refused(&levee.cmd(&["set", "export", "none"])?, &["there is no set none"])?;
    // A list that was cut off on its way is plain to see, and refused where that is asked for.
    let many = field
        .file("many", lines((0..2_000_u32).map(|n| std::net::Ipv4Addr::from(0x0c00_0000 + n).into())))?;
    levee.ok(&["set", "import", "many", &many])?;
    let guarded = ["set", "import", "many", "-", "--replace", "--max-change", "50%"];
    refused(&levee.feed(&guarded, b"12.0.0.1\n12.0.0")?, &["-:2:1:", "12.0.0"])?;
    refused(&levee.feed(&guarded, b"12.0.0.1\n12.0.0.2")?, &["remove 1998", "50%"])?;
    let said = levee.feed(&guarded[..5], b"12.0.0.1\n12.0.0.2")?;
    let is_warned = said.stderr.contains("warning: 1,998 of the 2,000 prefixes of many were removed");
    ensure!(said.code == Some(0) && is_warned, "{said:?}");
    Ok(())
}

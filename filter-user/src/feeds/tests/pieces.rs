//! However a list is cut into pieces and whoever parses them: the outcome is that of reading it line by line.

use std::io::{self, Read};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::entry::parse_line;
use super::super::*;

/// The list as [`parse_list`] promises to read it, in the plainest way.
fn by_line(text: &[u8], options: &ParseOptions) -> Result<ParsedList, FeedError> {
    let source: Arc<str> = "list.txt".into();
    let at = |line, problem| FeedError::new(&source, line, problem);
    let mut list = ParsedList::default();
    let refused = |list: ParsedList, error: FeedError| {
        let mut all = if options.skip_bad { Vec::new() } else { list.bad };
        all.push(error);
        let others = all.split_off(1);
        Err(FeedError { others, ..all.remove(0) })
    };
    let mut left = usize::try_from(options.max_bytes).unwrap();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.len() > left && left < options.max_line + 2 {
            let error = at(list.lines, FeedProblem::TooManyBytes { limit: options.max_bytes });
            return refused(list, error);
        }
        left = left.saturating_sub(line.len());
        list.lines += 1;
        let Err(problem) = take_line(&mut list, line, options) else { continue };
        let error = at(list.lines, problem);
        if error.problem.is_fatal() || (!options.skip_bad && list.bad.len() + 1 == BAD_KEPT) {
            return refused(list, error);
        }
        list.bad_total += 1;
        if list.bad.len() < BAD_KEPT {
            list.bad.push(error);
        }
    }
    if !options.skip_bad
        && let Some(last) = list.bad.pop()
    {
        return refused(list, last);
    }
    if list.entries == 0 && !options.allow_empty {
        let first = list.bad.into_iter().next().map(Box::new);
        return Err(at(0, FeedProblem::Empty { lines: list.lines, bad: list.bad_total, first }));
    }
    let all = list.prefixes.len();
    list.prefixes.sort();
    list.prefixes.dedup();
    list.duplicates = all - list.prefixes.len();
    list.v4 = list.prefixes.iter().filter(|prefix| prefix.network().is_ipv4()).count();
    list.v6 = list.prefixes.len() - list.v4;
    let covered =
        |prefix: &&IpNet| list.prefixes.iter().any(|other| other != *prefix && other.contains(*prefix));
    list.overlapping = list.prefixes.iter().filter(covered).count();
    Ok(list)
}

fn take_line(list: &mut ParsedList, line: &[u8], options: &ParseOptions) -> Result<(), FeedProblem> {
    let limit = options.max_line;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().take(limit + 1).any(|byte| *byte == 0) {
        return Err(FeedProblem::Binary);
    }
    if line.len() > limit {
        return Err(FeedProblem::LineTooLong { limit });
    }
    let text = str::from_utf8(line).map_err(|error| FeedProblem::not_utf8(line, error.valid_up_to()))?;
    if text.trim_start().starts_with('<') {
        return Err(FeedProblem::Html { found: Quoted::new(text) });
    }
    let Some(entry) = parse_line(text)? else { return Ok(()) };
    list.entries += 1;
    entry.cover(|prefix| {
        if list.prefixes.len() >= options.max_entries {
            return Err(FeedProblem::TooManyEntries { limit: options.max_entries });
        }
        list.prefixes.push(prefix);
        Ok(())
    })
}

fn good_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "192\\.0\\.2\\.[1-9]",
        2 => "1?[1-9]\\.0\\.[0-3]\\.0/(2[2-9]|3[0-2])",
        1 => "(192\\.0\\.2\\.[1-9]|2001:db8::)[ \t,][0-9]{1,5}",
        1 => " ?10\\.[0-9]\\.0\\.0 ?- ?10\\.[0-9]{2}\\.1\\.7(#x)?",
        1 => "192\\.0\\.2\\.[02468]/31",
        1 => "2001:db8::[0-9a-f]{0,4}(/128)?",
        1 => "[ \t]{0,3}([#;].{0,20})?",
    ]
    .prop_map(String::into_bytes)
}

/// What most lists have none of.
fn bad_line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        4 => "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,4}(/[0-9]{0,3})?",
        1 => "[0-9.:/ ,\t-]{1,12}",
        1 => "(\u{e9}|x|<p>).{0,9}",
        1 => "1\\.2\\.3\\.4 #x{30,60}",
    ];
    prop_oneof![
        9 => text.prop_map(String::into_bytes),
        1 => Just(b"\xff".to_vec()),
        1 => "#x{0,50}".prop_map(|text| [text.as_bytes(), b"\0"].concat()),
    ]
}

fn list_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => list_with(30), 1 => list_with(1)]
}

/// A list with so many good lines to a bad one.
fn list_with(good: u32) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![good => good_line(), 1 => bad_line()];
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..])];
    let lines = vec((line, end).prop_map(|(line, end)| [&line[..], end].concat()), 0..300);
    (lines, good_line()).prop_map(|(lines, last)| [lines.concat(), last].concat())
}

fn limits() -> impl Strategy<Value = ParseOptions> {
    let (entries, bytes) = (prop_oneof![1..300_usize, Just(10_000)], prop_oneof![6..3000_u64, Just(1 << 20)]);
    (any::<bool>(), any::<bool>(), entries, bytes, 10..60_usize).prop_map(
        |(skip_bad, allow_empty, max_entries, max_bytes, max_line)| ParseOptions {
            skip_bad,
            allow_empty,
            max_entries,
            max_bytes,
            max_line,
        },
    )
}

/// Gives at most so many bytes a read.
struct Sips<'a>(&'a [u8], usize);

impl Read for Sips<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(into.len());
        self.0.read(&mut into[..length])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn in_pieces_a_list_is_what_it_is_line_by_line(
        text in list_text(),
        options in limits(),
        piece in 1..600_usize,
        sip in 1..700_usize,
    ) {
        let found = parse_in_pieces(Sips(&text, sip), "list.txt", options, piece);
        prop_assert_eq!(format!("{found:#?}"), format!("{:#?}", by_line(&text, &options)));
    }
}

#[test]
fn a_list_of_many_pieces_has_every_line_and_names_the_right_one() {
    let address = |index: u32| std::net::Ipv4Addr::from_bits(index.wrapping_mul(2_654_435_761));
    let mut text: String = (0..100_000).map(|index| format!("{}\r\n", address(index))).collect();
    let list = parse_list(text.as_bytes(), "list.txt", ParseOptions::default()).unwrap();
    let mut expected: Vec<IpNet> =
        (0..100_000).map(|index| IpNet::from(std::net::IpAddr::from(address(index)))).collect();
    expected.sort();
    assert_eq!(list.prefixes, expected);
    assert_eq!((list.lines, list.entries), (100_000, 100_000));

    text.push_str(" oops\nand again\n");
    let error = parse_list(text.as_bytes(), "list.txt", ParseOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("list.txt:100001:2: found \"oops\""), "{error}");
    text.push_str(&"bad\r\n".repeat(300));
    let error = parse_list(text.as_bytes(), "list.txt", ParseOptions::default()).unwrap_err();
    let lines: Vec<u64> = error.all().map(|error| error.line).collect();
    assert_eq!(lines, (100_001..100_101).collect::<Vec<_>>());
}

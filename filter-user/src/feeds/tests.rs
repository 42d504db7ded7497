use std::io::{self, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flate2::Compression;
use flate2::write::GzEncoder;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;

mod pieces;

fn parse(text: impl AsRef<[u8]>) -> Result<ParsedList, FeedError> {
    parse_list(text.as_ref(), "list.txt", ParseOptions::default())
}

fn error(text: impl AsRef<[u8]>) -> String {
    parse(text).expect_err("the list is bad").to_string()
}

fn nets(text: &[&str]) -> Vec<IpNet> {
    text.iter().map(|prefix| prefix.parse().unwrap()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_format_is_read_and_counted() {
    let text = "\u{feff}# a comment\r\n\
        192.0.2.0/24 ; SBL1\r\n\
        \t 198.51.100.7\t12\r\n\
        \r\n\
        ; another\n\
        2001:db8::/32,0.75 # scored\n\
        203.0.113.4 - 203.0.113.7\n\
        203.0.113.8-203.0.113.8 3\n\
        192.0.2.9\n\
        192.0.2.9/32";
    let list = parse(text).unwrap();
    let expected = [
        "192.0.2.0/24",
        "192.0.2.9/32",
        "198.51.100.7/32",
        "203.0.113.4/30",
        "203.0.113.8/32",
        "2001:db8::/32",
    ];
    assert_eq!(list.prefixes, nets(&expected));
    assert_eq!((list.lines, list.entries, list.duplicates, list.overlapping), (10, 7, 1, 1));
    assert_eq!((list.v4, list.v6, list.bad_total), (5, 1, 0));
}

#[test]
fn bad_lines_name_place_finding_expectation_and_fix() {
    let cases = [
        (
            "1.2.3.4\n192.0.2.7/24\n",
            "list.txt:2:1: found \"192.0.2.7/24\", expected a prefix without host bits; did you mean 192.0.2.0/24 or 192.0.2.7/32?",
        ),
        ("é\n", "list.txt:1:1: found \"é\", expected an IPv4 or IPv6 address or prefix"),
        (
            "  1.2.3.4 evil # x\n",
            "list.txt:1:11: found \"evil\", expected a number, a comment or the end of the line after the prefix; put one prefix on a line, and comments behind # or ;",
        ),
        (
            "1.2.3.4 5.6.7.8\n",
            "list.txt:1:9: found \"5.6.7.8\", expected a number, a comment or the end of the line after the prefix; put one prefix on a line, and comments behind # or ;",
        ),
        (
            "10.0.0.9-10.0.0.1\n",
            "list.txt:1:1: found \"10.0.0.9-10.0.0.1\", expected a range from the lower to the higher address; did you mean 10.0.0.1-10.0.0.9?",
        ),
        (
            "10.0.0.1 - ::1\n",
            "list.txt:1:1: found \"10.0.0.1 - ::1\", expected a range within one address family; write one range for each family",
        ),
        (
            "10.0.0.0/24-10.0.1.0\n",
            "list.txt:1:1: found \"10.0.0.0/24-10.0.1.0\", expected a range of two plain addresses, as in 192.0.2.1-192.0.2.9",
        ),
        (
            "10.0.0.0-\n",
            "list.txt:1:1: found \"10.0.0.0-\", expected a range of two plain addresses, as in 192.0.2.1-192.0.2.9",
        ),
        (
            "10.0.0.0/33\n",
            "list.txt:1:1: found \"10.0.0.0/33\", expected a prefix length of at most 32 for IPv4; /32 is one address",
        ),
        (
            "::/4294967297\n",
            "list.txt:1:1: found \"::/4294967297\", expected a prefix length of at most 128 for IPv6; /128 is one address",
        ),
        (
            "10.0.0.0/08\n",
            "list.txt:1:1: found \"10.0.0.0/08\", expected a prefix length in plain digits after the slash; drop the slash to mean one address",
        ),
        (
            "010.0.0.1\n",
            "list.txt:1:1: found \"010.0.0.1\", expected octets without leading zeros; drop the zeros, which some tools read as octal",
        ),
        ("10.0.0.256\n", "list.txt:1:1: found \"10.0.0.256\", expected octets from 0 to 255"),
        (
            "10.0.0.0/255.0.0.0\n",
            "list.txt:1:1: found \"10.0.0.0/255.0.0.0\", expected a prefix length instead of a netmask; did you mean 10.0.0.0/8?",
        ),
        (
            "10.0.0.1:80\n",
            "list.txt:1:1: found \"10.0.0.1:80\", expected an address or prefix alone; did you mean 10.0.0.1?",
        ),
        (
            "fe80::1%eth0\n",
            "list.txt:1:1: found \"fe80::1%eth0\", expected an address without a zone; drop the % and what follows it",
        ),
        (
            "<!DOCTYPE html>\n",
            "list.txt:1:1: found \"<!DOCTYPE html>\", expected prefixes; this looks like HTML: check the address it was fetched from",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(text), message);
    }
    assert!(
        error(b"# ok\n10.0.0.1 \xe9t\xe9\n").starts_with("list.txt:2:10: found byte 0xe9, expected UTF-8")
    );
    assert!(error("x\u{1b}[31m\n").contains(r#"found "x\u{1b}[31m""#));
    let long = error(format!("{}\n", "x".repeat(100)));
    assert!(long.contains(&format!("found \"{}\"..., expected", "x".repeat(60))));
}

#[test]
fn what_is_no_text_is_refused_even_when_bad_lines_are_skipped() {
    let cases: [(&[u8], &str); 6] = [
        (
            b"1.2.3.4\n\x7fELF\0\0\n",
            "list.txt:2: found byte 0x00, expected text; this looks like a binary file",
        ),
        (b"\xff\xfe1\0", "list.txt: found UTF-16 text"),
        (b"\xfe\xff\x001", "list.txt: found UTF-16 text"),
        (b"PK\x03\x04....", "list.txt: found zip data"),
        (b"\xfd7zXZ\0..", "list.txt: found xz data"),
        (&gzip(&gzip(b"1.2.3.4\n")), "list.txt: found twice gzipped data"),
    ];
    for (bytes, message) in cases {
        let options = ParseOptions { skip_bad: true, ..ParseOptions::default() };
        let error = parse_list(bytes, "list.txt", options).expect_err("not a list").to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn skipped_lines_are_counted_and_the_first_hundred_kept() {
    let options = ParseOptions { skip_bad: true, ..ParseOptions::default() };
    let text = ["bad\n".repeat(150).as_bytes(), b"1.2.3.4\n\xff\n"].concat();
    let list = parse_list(&text[..], "list.txt", options).unwrap();
    assert_eq!((list.bad.len(), list.bad_total, list.entries, list.lines), (100, 151, 1, 152));
    assert_eq!(list.bad[1].line, 2);
}

#[test]
fn a_list_without_a_prefix_is_an_error_unless_allowed() {
    assert_eq!(error("# nothing\n\n"), "list.txt: found no prefix in 2 lines, expected at least one");
    assert_eq!(error(""), "list.txt: found no prefix in 0 lines, expected at least one");
    let options = ParseOptions { skip_bad: true, ..ParseOptions::default() };
    let error = parse_list(&b"bad\n"[..], "list.txt", options).expect_err("empty").to_string();
    assert!(error.contains("(1 of them bad, the first: list.txt:1:1: found \"bad\""), "{error}");
    let options = ParseOptions { allow_empty: true, ..options };
    assert_eq!(parse_list(&b""[..], "list.txt", options).unwrap().prefixes, []);
}

#[test]
fn gzip_is_detected_in_one_or_more_members() {
    let mut bytes = gzip(b"192.0.2.1\n192.0.");
    bytes.extend(gzip(b"2.2\n"));
    assert_eq!(parse(bytes).unwrap().prefixes, nets(&["192.0.2.1/32", "192.0.2.2/32"]));
}

#[test]
fn gzip_cut_anywhere_is_an_error_that_says_where() {
    let whole = gzip(b"192.0.2.1\n192.0.2.2\n");
    for length in 2..whole.len() {
        let error = error(&whole[..length]);
        assert!(error.contains(&format!("end of the gzip data after {length} bytes")), "{length}: {error}");
    }
}

#[test]
fn gzip_with_a_wrong_checksum_is_an_error() {
    let mut bytes = gzip(b"192.0.2.1\n192.0.2.2\n");
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert!(error(&bytes).contains("found damaged gzip data near byte"));
}

#[test]
fn what_is_behind_the_end_of_gzip_data_is_named_for_what_it_is() {
    let whole = gzip(b"192.0.2.1\n");
    for rest in
        [&b"x"[..], b"\n", b"trash that is longer than a header", b"\x1f", b"\0\0\0\0\0\0\0\0\0\0\0\0"]
    {
        let error = error([&whole, rest].concat());
        let place = format!("behind the end of the gzip data at byte {}", whole.len());
        assert!(error.contains(&place) && error.contains("fetch the file again"), "{rest:?}: {error}");
    }
}

#[test]
fn a_source_that_fails_is_not_taken_for_damaged_gzip() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("cable pulled"))
        }
    }
    let bytes = gzip(b"192.0.2.1\n");
    let error = parse_list(bytes[..12].chain(Failing), "list.txt", ParseOptions::default());
    let error = error.expect_err("the source failed").to_string();
    assert_eq!(error, "list.txt: cannot read on: cable pulled");
}

#[test]
fn limits_end_in_clear_errors() {
    let options = ParseOptions {
        max_entries: 3,
        max_bytes: 100,
        max_line: 40,
        skip_bad: true,
        ..ParseOptions::default()
    };
    let error =
        |text: &str| parse_list(text.as_bytes(), "list.txt", options).expect_err("over a limit").to_string();
    assert_eq!(
        error("::1\n10.0.0.1-10.0.0.4\n"),
        "list.txt:2: found more than 3 prefixes, expected at most that; split the list into several sets"
    );
    assert!(error(&"#\n".repeat(51)).contains("found more than 100 bytes of text"));
    assert!(
        error(&format!("1.2.3.4\n#{}\n", "x".repeat(40)))
            .contains("list.txt:2:1: found a line of more than 40 bytes")
    );
    let just = format!("1.2.3.4 #{}\r\n", "x".repeat(31));
    assert_eq!(parse_list(just.as_bytes(), "list.txt", options).unwrap().entries, 1);
}

#[test]
fn endless_streams_end_in_an_error() {
    let endless = |bytes: &'static [u8]| {
        struct Endless(&'static [u8], usize);
        impl Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                for byte in into.iter_mut() {
                    *byte = self.0[self.1 % self.0.len()];
                    self.1 += 1;
                }
                Ok(into.len())
            }
        }
        let options = ParseOptions { max_bytes: 8 << 20, max_entries: 100_000, ..ParseOptions::default() };
        parse_list(Endless(bytes, 0), "list.txt", options).expect_err("endless").problem
    };
    assert!(matches!(endless(b"\n"), FeedProblem::TooManyBytes { .. }));
    assert!(matches!(endless(b"1.2.3.4\n"), FeedProblem::TooManyEntries { .. }));
    assert!(matches!(endless(b"1"), FeedProblem::LineTooLong { .. }));
    assert!(matches!(endless(b"\0"), FeedProblem::Binary));
}

#[test]
fn a_gzip_bomb_ends_at_the_limit() {
    let bomb = gzip(&b"#\n".repeat(20 << 20));
    assert!(bomb.len() < 1 << 20);
    let options = ParseOptions { max_bytes: 16 << 20, ..ParseOptions::default() };
    let error = parse_list(&bomb[..], "bomb.gz", options).expect_err("a bomb");
    assert!(matches!(error.problem, FeedProblem::TooManyBytes { .. }));
}

#[test]
fn whole_families_are_ranges_too() {
    let all = ["0.0.0.0-255.255.255.255\n", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"];
    assert_eq!(parse(all.concat()).unwrap().prefixes, nets(&["0.0.0.0/0", "::/0"]));
}

#[test]
fn lines_are_found_however_the_stream_is_cut() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }
    let text = "\u{feff}192.0.2.1\r\n# x\r\n192.0.2.2\n";
    for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let list = parse_list(Trickle(&bytes), "list.txt", ParseOptions::default()).unwrap();
        assert_eq!(list.prefixes, nets(&["192.0.2.1/32", "192.0.2.2/32"]));
    }
}

fn any_prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| {
            IpNet::from(Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap().trunc())
        }),
        (any::<u128>(), 0..=128u8).prop_map(|(bits, length)| {
            IpNet::from(Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap().trunc())
        }),
    ]
}

/// What other parsers accept and this one does not.
fn on_purpose(problem: &PrefixProblem) -> bool {
    use PrefixProblem::{BadLength, HostBits, LeadingZero};
    matches!(problem, HostBits { .. } | BadLength | LeadingZero)
}

proptest! {
    #[test]
    fn a_prefix_printed_in_any_format_parses_back(prefix in any_prefix(), score in 0..1000u32) {
        let (begin, end) = (prefix.network(), prefix.broadcast());
        let mut printed = vec![
            format!("{prefix}\n"),
            format!(" {prefix}\t{score}\r\n"),
            format!("{prefix} ; SBL{score}"),
            format!("{prefix},{score}.5#x\n"),
            format!("{begin}-{end}\n"),
            format!("{begin} \t- {end} {score}\n"),
        ];
        if begin == end {
            printed.push(format!("{begin}\n"));
        }
        prop_assert_eq!(parse_prefix(&prefix.to_string()), Ok(prefix));
        for text in printed {
            prop_assert_eq!(&parse(&text).unwrap().prefixes, &[prefix], "{}", text);
            prop_assert_eq!(&parse(gzip(text.as_bytes())).unwrap().prefixes, &[prefix], "{}", text);
        }
    }

    #[test]
    fn a_range_is_covered_exactly_and_minimally(a: u32, b: u32) {
        let (low, high) = (a.min(b), a.max(b));
        let list = parse(format!("{}-{}", Ipv4Addr::from_bits(low), Ipv4Addr::from_bits(high))).unwrap();
        let mut next = u64::from(low);
        for prefix in &list.prefixes {
            let (IpAddr::V4(begin), IpAddr::V4(end)) = (prefix.network(), prefix.broadcast()) else {
                panic!("an IPv6 prefix covers IPv4 addresses");
            };
            prop_assert_eq!(u64::from(begin.to_bits()), next);
            next = u64::from(end.to_bits()) + 1;
        }
        prop_assert_eq!(next, u64::from(high) + 1);
        prop_assert_eq!(&IpNet::aggregate(&list.prefixes), &list.prefixes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, skip_bad: bool) {
        let options = ParseOptions { skip_bad, ..ParseOptions::default() };
        let _ = parse_list(&bytes[..], "list.txt", options);
    }

    #[test]
    fn nothing_that_resembles_a_list_makes_it_panic(text in "[0-9a-f.:/,;#<%\\[\\] \t\r\né-]{0,80}", skip_bad: bool) {
        let options = ParseOptions { skip_bad, ..ParseOptions::default() };
        if let Err(error) = parse_list(text.as_bytes(), "list.txt", options) {
            prop_assert!(error.to_string().starts_with("list.txt:"));
        }
        let _ = parse_prefix(&text);
    }

    #[test]
    fn what_is_refused_is_refused_elsewhere_or_on_purpose(text in "[0-9]{1,3}(\\.[0-9]{1,3}){2,4}(/[0-9]{1,2})?") {
        let standard = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match parse_prefix(&text) {
            Ok(prefix) => prop_assert_eq!(standard.ok(), Some(prefix)),
            Err(PrefixError { problem, .. }) if on_purpose(&problem) => {}
            Err(_) => prop_assert!(standard.is_err(), "{}", text),
        }
    }
}

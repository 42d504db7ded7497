//! How long a list of a million lines takes to parse, by what its lines look like.
//!
//! The lists are in memory, so that nothing but the parser is measured; no kernel is involved. One number is the
//! wall-clock time of one list from its first byte to its sorted prefixes: what `levee set import` spends before it
//! touches a table. Run with `cargo bench -p filter-user --bench parse_list`.

use std::hint::black_box;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use filter_user::feeds::{ParseOptions, parse_list, parse_prefix};
use flate2::Compression;
use flate2::write::GzEncoder;

const LINES: u32 = 1_000_000;

/// Address number `index` of a list in no order: multiplying by an odd number reaches each address once.
fn scattered(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(index.wrapping_mul(2_654_435_761))
}

fn text(line: impl Fn(u32) -> String) -> Vec<u8> {
    (0..LINES).map(line).collect::<String>().into_bytes()
}

fn lists() -> [(&'static str, Vec<u8>); 6] {
    let addresses = text(|index| format!("{}\n", scattered(index)));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&addresses).expect("memory takes all");
    let gzipped = gzip.finish().expect("memory takes all");
    let ipv6 =
        |index: u32| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(scattered(index).to_bits()) << 48);
    [
        ("addresses", addresses),
        ("addresses gzip", gzipped),
        ("sorted addresses", text(|index| format!("{}\n", Ipv4Addr::from_bits(0x0b00_0000 + index)))),
        ("scored", text(|index| format!("{}\t{}\r\n", scattered(index), index % 10))),
        (
            "prefixes",
            text(|index| format!("{}/24\n", Ipv4Addr::from_bits(scattered(index).to_bits() & !0xff))),
        ),
        ("IPv6 addresses", text(|index| format!("{}\n", ipv6(index)))),
    ]
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse_list");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(LINES)));
    for (name, list) in &lists() {
        group.bench_function(*name, |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    parse_list(black_box(&list[..]), name, ParseOptions::default()).expect("the list is good")
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// What the API does with each string of a request.
fn strings(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..100_000).map(|index| scattered(index).to_string()).collect();
    let mut group = criterion.benchmark_group("parse_prefix");
    group.sample_size(10).throughput(Throughput::Elements(texts.len() as u64));
    group.bench_function("addresses", |bencher| {
        bencher.iter(|| texts.iter().map(|text| parse_prefix(black_box(text))).filter(Result::is_ok).count());
    });
    group.finish();
}

criterion_group!(benches, parse, strings);
criterion_main!(benches);

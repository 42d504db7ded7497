//! Real lists, read where somebody has put them, as Levee's own importer reads them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use filter_user::feeds::{ParseOptions, parse_list};
use harness::data;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

type Prefixes = (Vec<Ipv4Net>, Vec<Ipv6Net>);

/// What is allocated to twenty countries.
pub fn geo() -> Result<Prefixes> {
    read(&["geo-20-countries-ipv4.cidr.gz", "geo-20-countries-ipv6.cidr.gz"])
}

/// A public blacklist.
pub fn ipsum() -> Result<Prefixes> {
    read(&["ipsum.txt"])
}

fn read(files: &[&str]) -> Result<Prefixes> {
    let directory = data::directory("lists")?;
    let mut prefixes = Prefixes::default();
    for file in files {
        for prefix in read_one(&directory.join(file))? {
            match prefix {
                IpNet::V4(net) => prefixes.0.push(net),
                IpNet::V6(net) => prefixes.1.push(net),
            }
        }
    }
    Ok(prefixes)
}

fn read_one(path: &Path) -> Result<Vec<IpNet>> {
    let shown = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    Ok(parse_list(file, &shown, ParseOptions::default())?.prefixes)
}

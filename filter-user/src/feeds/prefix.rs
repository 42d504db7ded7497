//! One prefix, address or range as text, and what is wrong with it when it is none.
//!
//! Decides what Levee accepts as a prefix wherever one is written: in a list, on the command line, in the API. Strict
//! on purpose: `010.0.0.1`, `10.1` and `192.0.2.7/24` mean different things to different tools, so each is an error
//! that says what to write instead. Trusts nothing. The good case costs one parse and no allocation; the wording of an
//! error is worked out only once there is one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;

use ipnet::{IpNet, Ipv4Net};

use super::quote::Quoted;

/// Parses one prefix: `192.0.2.0/24`, `2001:db8::/32`, or an address, which is a prefix of its full length.
///
/// # Errors
/// [`PrefixError`] names what was found, what was expected and what to write instead. Blanks around the prefix are
/// part of what was found.
pub fn parse_prefix(text: &str) -> Result<IpNet, PrefixError> {
    let found = prefix(text);
    found.map_err(|problem| PrefixError { column: 1, found: Quoted::new(text), problem })
}

/// Text that is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}, expected {}{}", .problem.expected(), Hint(.problem))]
pub struct PrefixError {
    /// Where it begins in its line, in characters from 1.
    pub column: usize,
    /// The text itself.
    pub found: Quoted,
    /// What is wrong with it.
    pub problem: PrefixProblem,
}

/// What is wrong with text that should be a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixProblem {
    /// Nothing like an address.
    NotAnAddress,
    /// An octet with a leading zero, which some tools read as octal.
    LeadingZero,
    /// An octet above 255.
    OctetTooLarge,
    /// An IPv6 zone (`%eth0`), which means nothing to a prefix table.
    Zone,
    /// An IPv4 address with a port behind it, or an IPv6 address in brackets.
    Port(IpAddr),
    /// What follows the slash is not a number without sign and leading zeros.
    BadLength,
    /// A netmask where the prefix length belongs.
    Netmask(IpNet),
    /// More bits than the address has.
    LengthTooLong {
        /// Bits of an address of that family.
        most: u8,
    },
    /// The address has bits behind the prefix length.
    HostBits {
        /// The network that the address lies in.
        network: IpNet,
        /// The address alone.
        host: IpNet,
    },
    /// One end of a range is a prefix or no address at all.
    BadRangeEnd,
    /// A range from IPv4 to IPv6 or the other way.
    MixedRange,
    /// A range whose end lies before its begin.
    BackwardRange {
        /// The lower address.
        low: IpAddr,
        /// The higher address.
        high: IpAddr,
    },
    /// Something behind the prefix that is neither a score nor a comment.
    Trailing,
}

impl PrefixProblem {
    /// What should have been there.
    #[must_use]
    pub const fn expected(&self) -> &'static str {
        match self {
            Self::NotAnAddress => "an IPv4 or IPv6 address or prefix",
            Self::LeadingZero => "octets without leading zeros",
            Self::OctetTooLarge => "octets from 0 to 255",
            Self::Zone => "an address without a zone",
            Self::Port(_) => "an address or prefix alone",
            Self::BadLength => "a prefix length in plain digits after the slash",
            Self::Netmask(_) => "a prefix length instead of a netmask",
            Self::LengthTooLong { most: 32 } => "a prefix length of at most 32 for IPv4",
            Self::LengthTooLong { .. } => "a prefix length of at most 128 for IPv6",
            Self::HostBits { .. } => "a prefix without host bits",
            Self::BadRangeEnd => "a range of two plain addresses, as in 192.0.2.1-192.0.2.9",
            Self::MixedRange => "a range within one address family",
            Self::BackwardRange { .. } => "a range from the lower to the higher address",
            Self::Trailing => "a number, a comment or the end of the line after the prefix",
        }
    }

    /// What to write instead, where that can be told.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAnAddress | Self::OctetTooLarge | Self::BadRangeEnd => None,
            Self::LeadingZero => Some("drop the zeros, which some tools read as octal".to_owned()),
            Self::Zone => Some("drop the % and what follows it".to_owned()),
            Self::Port(address) => Some(format!("did you mean {address}?")),
            Self::BadLength => Some("drop the slash to mean one address".to_owned()),
            Self::Netmask(network) => Some(format!("did you mean {network}?")),
            Self::LengthTooLong { most } => Some(format!("/{most} is one address")),
            Self::HostBits { network, host } => Some(format!("did you mean {network} or {host}?")),
            Self::MixedRange => Some("write one range for each family".to_owned()),
            Self::BackwardRange { low, high } => Some(format!("did you mean {low}-{high}?")),
            Self::Trailing => Some("put one prefix on a line, and comments behind # or ;".to_owned()),
        }
    }
}

struct Hint<'a>(&'a PrefixProblem);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hint().map_or(Ok(()), |hint| write!(out, "; {hint}"))
    }
}

/// The IPv4 address or prefix that `text` begins with, and its length in bytes; `None` where [`prefix`] has to say what
/// it is. It costs half of what that one does, and most lines of most lists are nothing else.
pub(super) fn leading_ipv4(text: &[u8]) -> Option<(Ipv4Net, usize)> {
    let (mut bits, mut rest) = (0, text);
    for index in 0..4 {
        if index > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (octet, behind) = leading_number(rest)?;
        bits = bits << 8 | u32::from(octet);
        rest = behind;
    }
    let mut length = 32;
    if let Some(behind) = rest.strip_prefix(b"/") {
        (length, rest) = leading_number(behind)?;
    }
    let network = Ipv4Net::new(Ipv4Addr::from_bits(bits), length).ok()?;
    (network.addr() == network.network()).then_some((network, text.len() - rest.len()))
}

/// The number of one to three digits, without leading zeros, that `text` begins with, and what is behind it.
fn leading_number(text: &[u8]) -> Option<(u8, &[u8])> {
    let (mut number, mut digits) = (0_u16, 0);
    while digits < 3
        && let Some(byte) = text.get(digits)
        && byte.is_ascii_digit()
    {
        number = number * 10 + u16::from(byte - b'0');
        digits += 1;
    }
    let leading_zero = digits > 1 && text[0] == b'0';
    let number = u8::try_from(number).ok().filter(|_| digits > 0 && !leading_zero)?;
    Some((number, &text[digits..]))
}

/// `text` as a prefix.
pub(super) fn prefix(text: &str) -> Result<IpNet, PrefixProblem> {
    if let Some((prefix, length)) = leading_ipv4(text.as_bytes())
        && length == text.len()
    {
        return Ok(prefix.into());
    }
    let Some((address, length)) = text.split_once('/') else {
        return address(text).map(IpNet::from);
    };
    let address = self::address(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(netmask) = IpAddr::from_str(length)
        && let Ok(network) = IpNet::with_netmask(address, netmask)
    {
        return Err(PrefixProblem::Netmask(network.trunc()));
    }
    let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (length.len() > 1 && length.starts_with('0')) {
        return Err(PrefixProblem::BadLength);
    }
    let length = length.parse().ok().filter(|length| *length <= most);
    let Some(network) = length.and_then(|length| IpNet::new(address, length).ok()) else {
        return Err(PrefixProblem::LengthTooLong { most });
    };
    if network != network.trunc() {
        return Err(PrefixProblem::HostBits { network: network.trunc(), host: IpNet::from(address) });
    }
    Ok(network)
}

/// `begin` and `end` as the ends of a range, in order and of one family.
pub(super) fn range(begin: &str, end: &str) -> Result<(IpAddr, IpAddr), PrefixProblem> {
    let end_of_range = |text| {
        address(text).map_err(|problem| match problem {
            PrefixProblem::NotAnAddress | PrefixProblem::Port(_) => PrefixProblem::BadRangeEnd,
            other => other,
        })
    };
    let (begin, end) = (end_of_range(begin)?, end_of_range(end)?);
    if begin.is_ipv4() != end.is_ipv4() {
        return Err(PrefixProblem::MixedRange);
    }
    if begin > end {
        return Err(PrefixProblem::BackwardRange { low: end, high: begin });
    }
    Ok((begin, end))
}

fn address(text: &str) -> Result<IpAddr, PrefixProblem> {
    IpAddr::from_str(text).map_err(|_| why_no_address(text))
}

fn why_no_address(text: &str) -> PrefixProblem {
    if let Some((address, _)) = text.split_once('%')
        && IpAddr::from_str(address).is_ok()
    {
        return PrefixProblem::Zone;
    }
    let host = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(host, _)| host);
    let host = host.or_else(|| text.split_once(':').map(|(host, _)| host));
    if let Some(address) = host.and_then(|host| IpAddr::from_str(host).ok()) {
        return PrefixProblem::Port(address);
    }
    let octets: Vec<&str> = text.split('.').collect();
    let numeric = |octet: &&str| !octet.is_empty() && octet.bytes().all(|byte| byte.is_ascii_digit());
    if octets.len() != 4 || !octets.iter().all(numeric) {
        return PrefixProblem::NotAnAddress;
    }
    let without_zeros: Vec<&str> = octets
        .iter()
        .map(|octet| match octet.trim_start_matches('0') {
            "" => "0",
            rest => rest,
        })
        .collect();
    if Ipv4Addr::from_str(&without_zeros.join(".")).is_ok() {
        PrefixProblem::LeadingZero
    } else {
        PrefixProblem::OctetTooLarge
    }
}

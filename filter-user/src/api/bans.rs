//! Sources that rules have banned, as requests ask about them and let them in again.
//!
//! Decides what an address is: a list with one that is none changes nothing. Trusts the dataplane for what is banned; nothing
//! of it is kept here, so a restart loses no ban and no end of one.

use std::net::IpAddr;

use super::controller::Controller;
use super::error::ApiError;
use super::policy::bans_anybody;
use super::problem::Problem;
use super::types::{BanList, BannedSource, LiftRequest, Lifted, LiftedBan, SCHEMA, Timestamp};

impl Controller {
    /// The sources that are banned now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bans(&self) -> Result<BanList, ApiError> {
        let enforced = self.asked()?.policy().is_some_and(bans_anybody);
        let bans = self.dataplane()?.bans()?;
        let bans =
            bans.into_iter().map(|ban| BannedSource { address: ban.address, until: Timestamp(ban.until) });
        Ok(BanList { schema: SCHEMA, enforced, bans: bans.collect() })
    }

    /// Ends bans now.
    ///
    /// # Errors
    /// Where an address is none, or nothing can be meant, and nothing was changed; when the kernel refuses.
    pub fn lift_bans(&self, request: &LiftRequest) -> Result<Lifted, ApiError> {
        let named = match (request.all, request.addresses.is_empty()) {
            (true, true) => None,
            (false, false) => Some(parse(&request.addresses)?),
            (true, false) => return Err(ApiError::Meaningless("either `addresses` or `all`, not both")),
            (false, true) => {
                return Err(ApiError::Meaningless(
                    "`addresses` is empty; expected at least one address, or `all`",
                ));
            }
        };
        let mut dataplane = self.dataplane()?;
        let named = match named {
            Some(named) => named,
            None => dataplane.bans()?.into_iter().map(|ban| ban.address).collect(),
        };
        let outcomes = dataplane.lift_bans(&named)?;
        drop(dataplane);
        let addresses: Vec<LiftedBan> =
            named.into_iter().zip(outcomes).map(|(address, lifted)| LiftedBan { address, lifted }).collect();
        let lifted = addresses.iter().filter(|ban| ban.lifted).count();
        tracing::info!(lifted, all = request.all, "bans were lifted");
        Ok(Lifted { schema: SCHEMA, lifted, addresses })
    }
}

/// All of them, or every one that is no address.
fn parse(texts: &[String]) -> Result<Vec<IpAddr>, ApiError> {
    let mut addresses = Vec::with_capacity(texts.len());
    let mut problems = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.trim().parse() {
            Ok(address) => addresses.push(address),
            Err(_) => problems.push(Problem {
                index: Some(index as u64),
                message: format!("found `{text}`; expected one IPv4 or IPv6 address, such as 203.0.113.7"),
                ..Problem::default()
            }),
        }
    }
    if problems.is_empty() {
        Ok(addresses)
    } else {
        Err(ApiError::BadAddresses { bad: problems.len(), problems, given: texts.len() })
    }
}

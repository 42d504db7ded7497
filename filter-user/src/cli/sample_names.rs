//! What samples call by number: rules by that of their counters, and interfaces.
//!
//! Policies come and go while somebody listens, and a number may be given to another rule, so names are asked for again while
//! samples come. Costs a request and a look at the interfaces every [`FRESH`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::api::client::Client;
use crate::api::types::RuleList;
use crate::dataplane::interface_names;

/// How long names are believed.
const FRESH: Duration = Duration::from_millis(500);

/// Names by number.
pub struct Names {
    rules: BTreeMap<u32, String>,
    interfaces: BTreeMap<u32, String>,
    /// When they were asked for.
    asked: Instant,
}

impl Names {
    /// Those of now. Where a daemon says that there is nothing to listen to, that is told.
    pub async fn new(client: &Client) -> Result<Self> {
        let rules = match client.get("/v1/rules").await {
            Ok(list) => listened_to(&list)?,
            Err(error) if error.is_absent() => {
                writeln!(
                    std::io::stderr(),
                    "note: no daemon answers, so rules go by the numbers of their counters"
                )?;
                BTreeMap::new()
            }
            Err(error) => return Err(error.into()),
        };
        let interfaces = interfaces().await.unwrap_or_default();
        Ok(Self { rules, interfaces, asked: Instant::now() })
    }

    /// Asks again where that is due. Where nobody answers, those of before are what there is.
    pub async fn refresh(&mut self, client: &Client) {
        if self.asked.elapsed() < FRESH {
            return;
        }
        if let Ok(list) = client.get::<RuleList>("/v1/rules").await {
            self.rules = by_number(&list);
        }
        if let Some(interfaces) = interfaces().await {
            self.interfaces = interfaces;
        }
        self.asked = Instant::now();
    }

    pub fn rule(&self, counter: u32) -> Option<&str> {
        self.rules.get(&counter).map(String::as_str)
    }

    pub fn interface(&self, index: u32) -> Option<&str> {
        self.interfaces.get(&index).map(String::as_str)
    }
}

/// Refuses where no rule can ever show anything; where none does now, another policy may.
fn listened_to(list: &RuleList) -> Result<BTreeMap<u32, String>> {
    let Some(policy) = list.policy.filter(|_| !list.rules.is_empty()) else {
        bail!(
            "no policy with rules is in force, so there is nothing to listen to; `levee apply FILE` puts one in force"
        );
    };
    let samples = |rule: &str| rule.split_whitespace().next() == Some("sample");
    if !list.rules.iter().any(|rule| samples(&rule.rule) && rule.mode == "enforce") {
        writeln!(
            std::io::stderr(),
            "note: no rule of policy {policy} samples, so nothing comes until another one does"
        )?;
    }
    Ok(by_number(list))
}

fn by_number(list: &RuleList) -> BTreeMap<u32, String> {
    list.rules.iter().map(|rule| (rule.counter, rule.name.clone())).collect()
}

async fn interfaces() -> Option<BTreeMap<u32, String>> {
    let names = tokio::task::spawn_blocking(interface_names).await.ok()?.ok()?;
    Some(names.into_iter().collect())
}

//! `levee check` on policies: whether one can be used, what it takes, whom it would cut off. With a daemon, about the sets and
//! interfaces that it has; without one, about the policy alone.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::render::{grouped, size};
use super::{Outcome, Refusal, policy_file, table};
use crate::api::client::Client;
use crate::api::types::{CheckRequest, PolicyCheck, PolicyMemory, SCHEMA};
use crate::api::{EMPTY, stages};
use crate::dataplane::interface_index;
use crate::engine::SetName;
use crate::policy::compile::Names;
use crate::policy::tables::tables;
use crate::policy::{Checked, Drawing, InterfaceName};
use crate::tables::{Contents, footprint};

/// What is known without a daemon.
struct Alone;

impl Names for Alone {
    fn set(&self, _: &SetName) -> Vec<ipnet::IpNet> {
        Vec::new()
    }

    fn interface_index(&self, name: &InterfaceName) -> Option<u32> {
        interface_index(name.as_str())
    }
}

/// All policies of a command line.
#[derive(Serialize)]
struct Policies {
    schema: u32,
    policies: Vec<PolicyCheck>,
}

pub async fn run(files: &[String], json: bool, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let mut policies = Vec::new();
    for file in files {
        let (policy, checked) = policy_file::read(file)?;
        if policy.trim().is_empty() {
            let message = format!("{file}: {EMPTY}");
            return Err(Refusal { message, problems: Vec::new(), may_have_changed: false }.into());
        }
        let request = CheckRequest { file: file.clone(), policy };
        let found = match client.ask::<_, PolicyCheck>("/v1/policy/check", &request).await {
            // It asks the kernel for interfaces, which blocks.
            Err(error) if error.is_absent() || error.is_forbidden() => {
                if error.is_forbidden() {
                    policy_file::note(&format!("{error}; what the daemon knows is not asked"));
                }
                let (file, checked) = (file.clone(), checked.clone());
                tokio::task::spawn_blocking(move || alone(&file, &checked)).await??
            }
            found => found.map_err(|error| Refusal::from_client(error, |_| None))?,
        };
        if !json {
            policy_file::warn(&checked.warnings);
            // Those that a daemon adds are about this host.
            found.warnings.iter().skip(checked.warnings.len()).for_each(|warning| policy_file::note(warning));
            out.write_all(text(&found).as_bytes())?;
        }
        policies.push(found);
    }
    if json {
        table::json(out, &Policies { schema: SCHEMA, policies })?;
    }
    Ok(Outcome::Done)
}

/// What can be told without a daemon: its sets are those that the policy declares, and empty.
fn alone(file: &str, checked: &Checked) -> Result<PolicyCheck> {
    let known = std::collections::BTreeSet::new();
    checked.require_sets(&known).map_err(|errors| policy_file::refused(file, &errors))?;
    let slots: Vec<u32> = (0..).take(checked.policy.rules.len()).collect();
    let compiled = tables(&checked.policy, &Alone, &slots, 0).with_context(|| file.to_owned())?;
    let buckets = compiled.bucket_bytes();
    let mut contents = Contents::default();
    let now = footprint(&contents).with_context(|| file.to_owned())?.bytes;
    if !compiled.is_empty() {
        contents.set_policy(std::sync::Arc::new(compiled));
    }
    let taken = footprint(&contents).with_context(|| file.to_owned())?.bytes;
    Ok(PolicyCheck {
        schema: SCHEMA,
        file: file.to_owned(),
        rules: checked.policy.rules.len(),
        stages: stages(&checked.policy),
        memory: PolicyMemory { tables: taken, now, buckets },
        new_sets: checked.policy.sets.keys().map(ToString::to_string).collect(),
        warnings: checked.warnings.iter().map(|warning| warning.render(Drawing::Plain)).collect(),
        cuts: Vec::new(),
    })
}

fn text(check: &PolicyCheck) -> String {
    let PolicyMemory { tables, now, buckets } = check.memory;
    let rules = if check.rules == 1 { "rule" } else { "rules" };
    let mut text = format!("{}: {} {rules}\n", check.file, grouped(check.rules as u64));
    text += &format!("  stages  {}\n", check.stages.join(", "));
    text +=
        &format!("  memory  {} of tables (now {}), {} of limits\n", size(tables), size(now), size(buckets));
    if !check.new_sets.is_empty() {
        text += &format!("  sets    {} (made with it)\n", check.new_sets.join(", "));
    }
    for cut in &check.cuts {
        text += &format!("  beware  {cut}\n");
    }
    text
}

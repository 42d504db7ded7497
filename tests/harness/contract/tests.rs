//! The table itself: names that tell its rows apart, frames that can be run, no reason left out.

use std::collections::HashSet;

use filter_common::verdict::Stage;

use super::*;

#[test]
fn rows_have_names_of_their_own_and_frames_that_the_kernel_takes() {
    let mut names = HashSet::new();
    for row in rows() {
        assert!(row.frame.len() >= 14, "{}: {} bytes", row.name, row.frame.len());
        assert!(names.insert(row.name.clone()), "two rows are named {}", row.name);
        if row.reason.stage() != Stage::Parse {
            assert!(row.addresses().is_some(), "{} has no addresses", row.name);
        }
    }
}

#[test]
fn every_reason_that_a_frame_alone_can_cause_has_a_row() {
    let caused: HashSet<Reason> = rows().iter().map(|row| row.reason).collect();
    let by_policy_or_fault = [
        Reason::InternalError,
        Reason::AllowedSource,
        Reason::AllowedDestination,
        Reason::BlockedSource,
        Reason::Fragment,
        Reason::BannedSource,
        Reason::DefaultDrop,
    ];
    for reason in Reason::ALL {
        let not_alone =
            by_policy_or_fault.contains(reason) || matches!(reason.stage(), Stage::Rules | Stage::Syn);
        assert_eq!(!caused.contains(reason), not_alone, "{}", reason.name());
    }
}

//! Marks the contract types as plain data, so that the loader may pass their bytes to the kernel and back.
//!
//! Lives here because neither the trait nor the types belong to the controller.

use aya::Pod;

use crate::abi::{AddressKey, InterfaceMeta, Meta, SynSecrets};
use crate::config::{PolicySwitches, Switches};
use crate::counters::{Counter, Counters, RuleCounter};
use crate::policy::asked::AskedKey;
use crate::policy::classifier::RulesGeometry;
use crate::table::Geometry;
use crate::twin::TwinCell;

macro_rules! plain_data {
    ($($type:ty)*) => {$(
        // SAFETY: the type is repr(C), Copy, made of integers only, and its size assertion shows that it has no
        // implicit padding; so every byte of it is initialised and every bit pattern is valid.
        unsafe impl Pod for $type {}
    )*};
}

plain_data!(Counter Counters RuleCounter Geometry RulesGeometry Switches PolicySwitches AddressKey AskedKey Meta InterfaceMeta TwinCell);
plain_data!(SynSecrets);

#[cfg(feature = "harness")]
plain_data!(crate::harness::Shape crate::harness::Control crate::harness::Progress crate::harness::StackCount);

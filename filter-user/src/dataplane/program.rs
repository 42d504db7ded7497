//! Loading the program for one interface and putting it on the hook.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapError};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramFd, Xdp, XdpMode};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::generated::bpf_map_type;
use aya_obj::programs::XdpAttachType;
use filter_common::abi::{
    AddressKey, GEOMETRY_GLOBAL, MAX_ASKED, MAX_ASKED_HOSTS, MAX_BANS, MAX_OWN_ADDRESSES, POLICY_GLOBAL,
    PROGRAM, PROGRAM_FRAGS, RULE_SLOTS, RULES_GLOBAL, SWITCHES_GLOBAL, TRIAL_PROGRAM, TRIAL_PROGRAM_FRAGS,
    map,
};
use filter_common::config::{PolicySwitches, Switches};
use filter_common::policy::asked::{AskedKey, WATCHED_WORDS};
use filter_common::policy::claimed;
use filter_common::policy::classifier::RulesGeometry;
use filter_common::policy::syn;
use filter_common::policy::tables::PolicyTables;

use super::DataplaneError;
use super::connections;
use super::generation::Generation;
use super::generation::VALUE_BYTES;
use super::pins::{InterfacePins, Pins, TrialPins};
use super::secrets;
use crate::interface::InterfaceMode;
use crate::object::{self, Global, specialise};

/// First kernel that takes the program: it has compare-and-exchange, which limits are made with. XDP links, which outlive
/// their maker when pinned, are older.
const KERNEL_LEAST: KernelVersion = KernelVersion::new(5, 12, 0);
/// First kernel with frames in several buffers.
const KERNEL_FRAGS: KernelVersion = KernelVersion::new(5, 18, 0);

/// Makes and pins the maps that programs of all interfaces share, as far as the policy wants them and they are not pinned.
pub(super) fn pin_shared_maps(pins: &Pins, generation: &Generation) -> Result<(), DataplaneError> {
    let Some(policy) = &generation.policy else { return Ok(()) };
    let pin = |name: &'static str, path: PathBuf, kind: bpf_map_type, [key, value, entries]: [u32; 3]| {
        if path.exists() {
            return Ok(());
        }
        let object = aya_obj::Map::new_from_params(kind as u32, key, value, entries, 0);
        let made = MapData::create(object, name, None).map_err(DataplaneError::map(name))?;
        made.pin(&path).map_err(|source| DataplaneError::Pin { path, source })
    };
    if policy.switches.bans != 0 {
        pin(map::BANS, pins.bans(), bpf_map_type::BPF_MAP_TYPE_LRU_HASH, [ADDRESS_KEY, 8, MAX_BANS])?;
    }
    if policy.asks() {
        let hash = bpf_map_type::BPF_MAP_TYPE_LRU_HASH;
        pin(map::ASKED, pins.asked(), hash, [ASKED_KEY, 8, MAX_ASKED])?;
        pin(map::ASKED_HOSTS, pins.asked_hosts(), hash, [ASKED_KEY, 8, MAX_ASKED_HOSTS])?;
        pin(map::WATCHED, pins.watched(), bpf_map_type::BPF_MAP_TYPE_ARRAY, [4, 8, WATCHED_WORDS])?;
    }
    if policy.claims() {
        let array = bpf_map_type::BPF_MAP_TYPE_ARRAY;
        if !pins.claimed().exists() {
            pin(map::CLAIMED, pins.claimed(), array, [4, VALUE_BYTES, claimed::LINES])?;
            secrets::write_claim_keys(&pins.claimed())?;
        }
        let hash = bpf_map_type::BPF_MAP_TYPE_HASH;
        pin(map::OWN_ADDRESSES, pins.own_addresses(), hash, [ADDRESS_KEY, 4, MAX_OWN_ADDRESSES])?;
    }
    if policy.switches.defences != 0 {
        let array = bpf_map_type::BPF_MAP_TYPE_ARRAY;
        pin(map::SYN_GATES, pins.syn_gates(), array, [4, 8, RULE_SLOTS])?;
        if !pins.verified().exists() {
            pin(map::VERIFIED, pins.verified(), array, [4, VALUE_BYTES, syn::SOURCE_LINES])?;
            connections::doubt(pins)?;
        }
        secrets::pin(&pins.syn_secrets())?;
    }
    if policy.rules.rules > 0 {
        let failed = |(_, source)| DataplaneError::map(map::SAMPLES)(MapError::IoError(source));
        let cpus = u32::try_from(aya::util::nr_cpus().map_err(failed)?).unwrap_or(u32::MAX);
        pin(map::SAMPLES, pins.samples(), bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY, [4, 4, cpus])?;
    }
    Ok(())
}

/// Bytes of a key that is an address.
#[expect(clippy::cast_possible_truncation, reason = "24")]
const ADDRESS_KEY: u32 = size_of::<AddressKey>() as u32;

/// Bytes of a key of what was asked.
#[expect(clippy::cast_possible_truncation, reason = "24")]
const ASKED_KEY: u32 = size_of::<AskedKey>() as u32;

/// A program in the kernel, on no interface yet.
pub(super) struct Loaded {
    ebpf: Ebpf,
    name: &'static str,
}

/// Whether this kernel takes programs for frames in several buffers.
pub(super) fn takes_frags() -> Result<bool, DataplaneError> {
    let kernel = KernelVersion::current().map_err(|error| DataplaneError::Netlink(error.to_string()))?;
    if kernel < KERNEL_LEAST {
        return Err(DataplaneError::KernelTooOld {
            found: format!("{kernel:?}"),
            needed: "5.12",
            feature: "the filter's program",
        });
    }
    Ok(kernel >= KERNEL_FRAGS)
}

/// What a program for that interface has as read-only data of a policy: where its rules lie, and its switches and those that
/// the interface was attached with. `notes` is whether it notes connections.
pub(super) fn read_only(
    policy: Option<&PolicyTables>,
    interface: &str,
    switches: Switches,
    notes: bool,
) -> (RulesGeometry, PolicySwitches, Switches) {
    let Some(policy) = policy else { return (RulesGeometry::NONE, PolicySwitches::NONE, switches) };
    let bare_cookies = u32::from(notes);
    let own =
        PolicySwitches { interface: policy.interface_class(interface), bare_cookies, ..policy.switches };
    let drop_fragments = switches.drop_fragments | own.drop_fragments;
    (policy.rules, own, Switches { drop_fragments, ..switches })
}

/// Loads a program with these switches on a pinned generation. It counts where the interface's pins are; what is not
/// there yet is made and pinned. `continues` is whether it takes the place of one that noted connections, if it does.
pub(super) fn load(
    pins: &Pins,
    generation: &Generation,
    interface: &InterfacePins,
    (name, switches): (&str, Switches),
    continues: bool,
) -> Result<Loaded, DataplaneError> {
    let takes_frags = takes_frags()?;
    let policy = generation.policy.as_deref();
    let (rules, own, switches) = read_only(policy, name, switches, generation.notes_connections);
    let (lines, counters) = (pins.generation(generation.number).lines(), interface.counters());
    let set_counters = interface.set_counters();
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(map::LINES, generation.geometry.elements())
        .map_pin_path(map::LINES, &lines)
        .map_pin_path(map::COUNTERS, &counters)
        .map_pin_path(map::SET_COUNTERS, &set_counters);
    // What the policy has no use for is made as small as can be, and goes with the program.
    let (rule_counters, samples) = (interface.rule_counters(), pins.samples());
    let (buckets, bans) = (pins.generation(generation.number).buckets(), pins.bans());
    if own.bans == 0 {
        loader.map_max_entries(map::BANS, 1);
    } else {
        loader.map_max_entries(map::BANS, MAX_BANS).map_pin_path(map::BANS, &bans);
    }
    let (asked, hosts) = (pins.asked(), pins.asked_hosts());
    if policy.is_some_and(PolicyTables::asks) {
        loader
            .map_max_entries(map::ASKED, MAX_ASKED)
            .map_pin_path(map::ASKED, &asked)
            .map_max_entries(map::ASKED_HOSTS, MAX_ASKED_HOSTS)
            .map_pin_path(map::ASKED_HOSTS, &hosts);
    } else {
        loader.map_max_entries(map::ASKED, 1).map_max_entries(map::ASKED_HOSTS, 1);
    }
    let (own_addresses, claimed_notes) = (pins.own_addresses(), pins.claimed());
    if policy.is_some_and(PolicyTables::claims) {
        loader
            .map_max_entries(map::CLAIMED, claimed::LINES)
            .map_pin_path(map::CLAIMED, &claimed_notes)
            .map_max_entries(map::OWN_ADDRESSES, MAX_OWN_ADDRESSES)
            .map_pin_path(map::OWN_ADDRESSES, &own_addresses);
    } else {
        loader.map_max_entries(map::OWN_ADDRESSES, 1);
    }
    let (gates, secret, verified) = (pins.syn_gates(), pins.syn_secrets(), pins.verified());
    if own.defences == 0 {
        loader.map_max_entries(map::VERIFIED, 1);
    } else {
        loader
            .map_max_entries(map::SYN_GATES, RULE_SLOTS)
            .map_pin_path(map::SYN_GATES, &gates)
            .map_pin_path(map::SYN_SECRETS, &secret)
            .map_max_entries(map::VERIFIED, syn::SOURCE_LINES)
            .map_pin_path(map::VERIFIED, &verified);
    }
    if let Some(policy) = policy.filter(|policy| policy.rules.rules > 0) {
        loader
            .map_max_entries(map::RULE_COUNTERS, RULE_SLOTS)
            .map_pin_path(map::RULE_COUNTERS, &rule_counters)
            .map_pin_path(map::SAMPLES, &samples);
        if policy.bucket_lines > 0 {
            loader.map_max_entries(map::BUCKETS, policy.bucket_lines).map_pin_path(map::BUCKETS, &buckets);
        }
    }
    if !continues {
        connections::doubt(pins)?;
    }
    let name = if takes_frags { PROGRAM_FRAGS } else { PROGRAM };
    let globals = [
        Global::new(SWITCHES_GLOBAL, &switches),
        Global::new(GEOMETRY_GLOBAL, &generation.geometry),
        Global::new(RULES_GLOBAL, &rules),
        Global::new(POLICY_GLOBAL, &own),
    ];
    let object = specialise(object::DATAPLANE, name, &globals)?;
    let mut ebpf = loader.load(&object).map_err(load_error)?;
    program(&mut ebpf, name)?.load().map_err(program_error)?;
    Ok(Loaded { ebpf, name })
}

impl Loaded {
    /// Takes one of its maps out.
    pub(super) fn take_map(&mut self, name: &'static str) -> Result<aya::maps::Map, DataplaneError> {
        let missing = || MapError::InvalidName { name: name.to_owned() };
        self.ebpf.take_map(name).ok_or_else(missing).map_err(DataplaneError::map(name))
    }

    /// Whether it takes frames in several buffers.
    pub(super) fn takes_frags(&self) -> bool {
        self.name == PROGRAM_FRAGS
    }

    /// A handle on the program, for those that may run it.
    pub(super) fn fd(&mut self) -> Result<ProgramFd, DataplaneError> {
        Ok(program(&mut self.ebpf, self.name)?.fd()?.try_clone().map_err(ProgramError::IOError)?)
    }

    /// Pins the program.
    pub(super) fn pin(&mut self, path: &Path) -> Result<(), DataplaneError> {
        program(&mut self.ebpf, self.name)?
            .pin(path)
            .map_err(|source| DataplaneError::Pin { path: path.to_owned(), source })
    }

    /// Takes the place of the program that a pinned link runs: one step, no packet between.
    pub(super) fn replace_on(&mut self, link: &Path) -> Result<(), DataplaneError> {
        replace(program(&mut self.ebpf, self.name)?, link)
    }

    /// Puts it on the interface's hook, through a link that another program cannot push off.
    pub(super) fn attach(
        &mut self,
        interface: &str,
        index: u32,
        mode: InterfaceMode,
    ) -> Result<FdLink, DataplaneError> {
        let kernel_mode = match mode {
            InterfaceMode::Native => XdpMode::Driver,
            InterfaceMode::Generic => XdpMode::Skb,
            InterfaceMode::Offload => XdpMode::Hardware,
        };
        let program = program(&mut self.ebpf, self.name)?;
        let id = program
            .attach_to_if_index(index, kernel_mode)
            .map_err(|error| refused(interface, mode, error))?;
        let link = program.take_link(id)?;
        // Where the kernel refuses a link, aya attaches the old way instead, which ends with this process. Such an
        // attachment is dropped here: it must not look like one that lasts.
        FdLink::try_from(link).map_err(|_: LinkError| DataplaneError::ModeRefused {
            name: interface.to_owned(),
            mode,
            hint: "the driver takes a program only without a link, so it would not outlive the controller",
            source: io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error()),
        })
    }
}

/// Loads the program that runs another one on trial; its maps are its own, but for what is known of connections and of who
/// is blocked since, which is pinned there or will be.
pub(super) fn load_trial(takes_frags: bool, known: &TrialPins) -> Result<Loaded, DataplaneError> {
    let name = if takes_frags { TRIAL_PROGRAM_FRAGS } else { TRIAL_PROGRAM };
    let mut loader = EbpfLoader::new();
    let (watched, blocked) = (known.watched(), known.blocked());
    loader.map_pin_path(map::TRIAL_WATCHED, &watched).map_pin_path(map::TRIAL_BLOCKED, &blocked);
    let mut ebpf = loader.load(object::TRIAL).map_err(load_error)?;
    program(&mut ebpf, name)?.load().map_err(program_error)?;
    Ok(Loaded { ebpf, name })
}

/// Puts a pinned program, of whatever ABI, back on a pinned link.
pub(super) fn put_back(pinned: &Path, link: &Path) -> Result<(), DataplaneError> {
    replace(&mut Xdp::from_pin(pinned, XdpAttachType::Interface)?, link)
}

fn replace(program: &mut Xdp, link: &Path) -> Result<(), DataplaneError> {
    let failed = |source| DataplaneError::Link { name: link.display().to_string(), source };
    let held = FdLink::from(PinnedLink::from_pin(link).map_err(failed)?);
    let id = program.attach_to_link(XdpLink::try_from(held).map_err(failed)?)?;
    // The pin keeps the link; this only lets go of the handle.
    drop(program.take_link(id)?);
    Ok(())
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, DataplaneError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    Ok(program.try_into()?)
}

/// A refusal to load, told apart by what the user can do about it.
pub(super) fn load_error(error: EbpfError) -> DataplaneError {
    match not_permitted(&error) {
        Some(source) => DataplaneError::NotPermitted { action: "loading an XDP program", source },
        None => DataplaneError::Load { source: error },
    }
}

pub(super) fn program_error(error: ProgramError) -> DataplaneError {
    match not_permitted(&error) {
        Some(source) => DataplaneError::NotPermitted { action: "loading an XDP program", source },
        None => DataplaneError::Program { source: error },
    }
}

fn refused(interface: &str, mode: InterfaceMode, error: ProgramError) -> DataplaneError {
    let Some(source) = os_error(&error) else { return DataplaneError::Program { source: error } };
    let hint = match (mode, source.raw_os_error().map(rustix::io::Errno::from_raw_os_error)) {
        (InterfaceMode::Native, Some(rustix::io::Errno::OPNOTSUPP)) => {
            "its driver has no XDP support; `--mode generic` works everywhere, but slower"
        }
        (InterfaceMode::Offload, _) => {
            "the network card cannot run it; Levee's tables need `--mode native` or `--mode generic`"
        }
        (_, Some(rustix::io::Errno::BUSY | rustix::io::Errno::EXIST)) => {
            "another XDP program came in between; `ip link show` tells which"
        }
        (InterfaceMode::Native, _) => {
            "the driver may want a smaller MTU, fewer queues or LRO off (`dmesg` often says); \
             `--mode generic` works everywhere, but slower"
        }
        (InterfaceMode::Generic, _) => "the kernel log (`dmesg`) may say more",
    };
    DataplaneError::ModeRefused { name: interface.to_owned(), mode, hint, source }
}

/// The system's refusal for lack of rights, if that is what lies at the bottom of an error. The verifier's refusal is EACCES,
/// and is told with its reasons.
fn not_permitted(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let lacking = Some(rustix::io::Errno::PERM.raw_os_error());
    os_error(error).filter(|error| error.raw_os_error() == lacking)
}

/// Whether a link refused a program because its interface is gone for good.
pub(super) fn is_gone(error: &DataplaneError) -> bool {
    let gone = Some(rustix::io::Errno::NOLINK.raw_os_error());
    os_error(error).is_some_and(|error| error.raw_os_error() == gone)
}

/// The system's error at the bottom of a chain.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        current = error.source();
    }
    None
}

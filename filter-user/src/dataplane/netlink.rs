//! What the kernel says of its interfaces: index, link type, and the XDP program on each.

use std::io;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached};

use super::DataplaneError;
use crate::interface::InterfaceMode;

/// One interface of this network namespace.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub name: String,
    pub index: u32,
    pub link_type: LinkLayerType,
    pub xdp: Vec<AttachedProgram>,
}

/// A program on an interface's XDP hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttachedProgram {
    pub id: u32,
    pub mode: InterfaceMode,
}

impl Interface {
    fn from_message(message: LinkMessage) -> Option<Self> {
        let mut interface = Self {
            name: String::new(),
            index: message.header.index,
            link_type: message.header.link_layer_type,
            xdp: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Xdp(xdp) => interface.xdp = programs(&xdp),
                _ => {}
            }
        }
        (!interface.name.is_empty()).then_some(interface)
    }
}

/// The kernel gives one id and its mode, or, with several programs, an id for each mode.
fn programs(attributes: &[LinkXdp]) -> Vec<AttachedProgram> {
    let attached = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(attached) => Some(*attached),
        _ => None,
    });
    let single = match attached {
        Some(XdpAttached::Driver) => Some(InterfaceMode::Native),
        Some(XdpAttached::SocketBuffer) => Some(InterfaceMode::Generic),
        Some(XdpAttached::Hardware) => Some(InterfaceMode::Offload),
        _ => None,
    };
    let several = attached == Some(XdpAttached::Multiple);
    attributes
        .iter()
        .filter_map(|attribute| {
            let (id, mode) = match (attribute, single) {
                (LinkXdp::ProgId(id), Some(mode)) => (*id, mode),
                (LinkXdp::DrvProgId(id), None) if several => (*id, InterfaceMode::Native),
                (LinkXdp::SkbProgId(id), None) if several => (*id, InterfaceMode::Generic),
                (LinkXdp::HwProgId(id), None) if several => (*id, InterfaceMode::Offload),
                _ => return None,
            };
            (id != 0).then_some(AttachedProgram { id, mode })
        })
        .collect()
}

/// Every interface of this network namespace.
pub(super) fn interfaces() -> Result<Vec<Interface>, DataplaneError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error: io::Error| DataplaneError::Netlink(error.to_string()))?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| DataplaneError::Netlink(error.to_string()))?;
        tokio::spawn(connection);
        handle
            .link()
            .get()
            .execute()
            .try_filter_map(async |message| Ok(Interface::from_message(message)))
            .try_collect()
            .await
            .map_err(|error| DataplaneError::Netlink(error.to_string()))
    })
}

/// The interface of that name.
pub(super) fn interface(name: &str) -> Result<Interface, DataplaneError> {
    interfaces()?
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| DataplaneError::UnknownInterface { name: name.to_owned() })
}

//! The host's own addresses and its default gateways, as rtnetlink tells them.
//!
//! Decides what counts as a default route: one of any table for everything, or for half of everything, as tunnels that
//! override the default without replacing it have them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::{GuardError, Guarded, Why, is_remote};

/// Names of interfaces, by index.
type Names = BTreeMap<u32, String>;

/// The longest prefix of a route that is taken for a default one.
const DEFAULT_ROUTE: u8 = 1;

/// Own addresses first, then gateways, each once.
pub(super) async fn look() -> Result<Vec<Guarded>, GuardError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| GuardError::Socket { source })?;
    tokio::spawn(connection);
    let names = names(&handle).await?;
    let mut guarded = Vec::new();
    for (address, index) in addresses(&handle).await? {
        push(&mut guarded, address, Why::OwnAddress { interface: name(&names, index) });
    }
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for family in [v4, v6] {
        for (address, index) in gateways(&handle, family).await? {
            push(&mut guarded, address, Why::Gateway { interface: name(&names, index) });
        }
    }
    Ok(guarded)
}

/// Every address on an interface of this host.
pub(super) async fn own_addresses() -> Result<Vec<IpAddr>, GuardError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| GuardError::Socket { source })?;
    tokio::spawn(connection);
    Ok(addresses(&handle).await?.into_iter().map(|(address, _)| address).collect())
}

fn push(guarded: &mut Vec<Guarded>, address: IpAddr, why: Why) {
    let one = Guarded { prefix: address.into(), why, session: None };
    if is_remote(address) && !guarded.contains(&one) {
        guarded.push(one);
    }
}

fn name(names: &Names, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("interface {index}"))
}

async fn names(handle: &Handle) -> Result<Names, GuardError> {
    let error = |source| GuardError::Route { what: "its interfaces", source };
    let links = handle.link().get().execute().try_filter_map(async |link| {
        let name = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Ok(name.map(|name| (link.header.index, name)))
    });
    links.try_collect().await.map_err(error)
}

async fn addresses(handle: &Handle) -> Result<Vec<(IpAddr, u32)>, GuardError> {
    let error = |source| GuardError::Route { what: "its addresses", source };
    let messages = handle.address().get().execute();
    let own = messages.try_filter_map(async |message| Ok(own_address(&message)));
    own.try_collect().await.map_err(error)
}

/// On a point-to-point link `Address` is the other end.
fn own_address(message: &AddressMessage) -> Option<(IpAddr, u32)> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(own) => local = Some(*own),
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    Some((local.or(address)?, message.header.index))
}

async fn gateways(handle: &Handle, family: RouteMessage) -> Result<Vec<(IpAddr, u32)>, GuardError> {
    let error = |source| GuardError::Route { what: "its routes", source };
    let routes = handle.route().get(family).execute();
    let hops = routes.try_filter_map(async |route| Ok(is_default(&route).then(|| next_hops(&route))));
    let hops: Vec<_> = hops.try_collect().await.map_err(error)?;
    Ok(hops.into_iter().flatten().collect())
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length <= DEFAULT_ROUTE && route.header.kind == RouteType::Unicast
}

/// Where a route leads to, one way or several.
fn next_hops(route: &RouteMessage) -> Vec<(IpAddr, u32)> {
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let mut hops: Vec<_> =
        hop(&route.attributes).map(|hop| (hop, interface.unwrap_or(0))).into_iter().collect();
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(ways) = attribute {
            hops.extend(ways.iter().filter_map(|way| Some((hop(&way.attributes)?, way.interface_index))));
        }
    }
    hops
}

fn hop(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(hop)) | RouteAttribute::Via(RouteVia::Inet(hop)) => {
            Some(IpAddr::V4(*hop))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(hop)) | RouteAttribute::Via(RouteVia::Inet6(hop)) => {
            Some(IpAddr::V6(*hop))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn of_a_point_to_point_link_the_near_end_is_the_own_address() {
        let mut message = AddressMessage::default();
        message.header.index = 7;
        message.attributes = vec![
            AddressAttribute::Address(address("192.0.2.1")),
            AddressAttribute::Local(address("192.0.2.2")),
        ];
        assert_eq!(own_address(&message), Some((address("192.0.2.2"), 7)));
        message.attributes = vec![AddressAttribute::Address(address("2001:db8::2"))];
        assert_eq!(own_address(&message), Some((address("2001:db8::2"), 7)));
        message.attributes.clear();
        assert_eq!(own_address(&message), None);
    }

    #[test]
    fn a_default_route_leads_somewhere_for_everything_or_half_of_it() {
        let route = |length, kind| {
            let mut route = RouteMessage::default();
            (route.header.destination_prefix_length, route.header.kind) = (length, kind);
            route
        };
        assert!(is_default(&route(0, RouteType::Unicast)));
        assert!(is_default(&route(1, RouteType::Unicast)));
        assert!(!is_default(&route(8, RouteType::Unicast)));
        assert!(!is_default(&route(0, RouteType::Unreachable)));
    }

    #[test]
    fn loopback_addresses_are_nobody_to_guard_and_others_are_guarded_once() {
        let mut guarded = Vec::new();
        for text in ["127.0.0.1", "::1", "192.0.2.1", "192.0.2.1", "fe80::1"] {
            push(&mut guarded, address(text), Why::OwnAddress { interface: "eth0".to_owned() });
        }
        let prefixes: Vec<String> = guarded.iter().map(|it| it.prefix.to_string()).collect();
        assert_eq!(prefixes, ["192.0.2.1/32", "fe80::1/128"]);
    }
}

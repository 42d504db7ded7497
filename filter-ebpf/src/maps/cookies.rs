//! The kernel's SYN cookies: made of the headers alone where that is enough, else for the socket that listens.
//!
//! Decides which of the two a SYN gets, as [`filter_common::policy::syn`] says. Three global functions, each called by [`cookie`], so
//! that none has the stack of another below it. What the kernel makes a cookie of is copied to the per-CPU element, since its
//! helper wants header and options at one place, whose length the verifier can see.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie, bpf_tcp_raw_gen_syncookie_ipv4,
    bpf_tcp_raw_gen_syncookie_ipv6,
};
use aya_ebpf::programs::XdpContext;
use filter_common::parse::PacketRead as _;
use filter_common::policy::observed::{Observed, family};
use filter_common::policy::scratch::{Scratch, Services, SynHeaders};
use filter_common::policy::syn::{SEEN_TICKS, Segment};

use super::connected::{may_be_connected, notes_are_complete, tick};
use super::policy::{found, makes_bare_cookies, scratch};
use super::sockets::{IPV4_HEADER, IPV6_HEADER, TCP_HEADER, THIS_NAMESPACE, write_tuple};
use crate::packet::XdpPacket;
use crate::twin;

/// A TCP header with the longest options.
const MOST_TCP: usize = 60;
/// Kind and length of the option with the maximum segment size.
const MOST_SEGMENT: u32 = 0x0204;
/// In place of a cookie, which has fewer bits.
const NO_COOKIE: u64 = u64::MAX;

/// The kernel's cookie for this CPU's packet, if `is_made`; else whether there is one.
#[inline(always)]
pub(super) fn cookie<const FRAGS: bool>(ctx: *mut xdp_md, segment: &Segment, is_made: bool) -> Option<u64> {
    let (header, ports) = (segment.header(), segment.ports);
    // A twin leaves it to the kernel to say nothing.
    let may_be_bare = !twin::IS_TWIN && makes_bare_cookies() && is_made;
    if may_be_bare {
        let bare = if FRAGS { bare_cookie_frags } else { bare_cookie };
        let cookie = bare(ctx, header, ports);
        if cookie != NO_COOKIE {
            return Some(cookie);
        }
    }
    let of_socket = if FRAGS { socket_cookie_frags } else { socket_cookie };
    let cookie = of_socket(ctx, if is_made { header } else { 0 }, ports);
    if cookie == NO_COOKIE {
        return None;
    }
    if may_be_bare {
        let see = if FRAGS { see_service_frags } else { see_service };
        see(ctx, header, ports, cookie);
    }
    Some(cookie)
}

/// Each is handed the length of the TCP header and the ports: what the compiler makes of reading them once more, the verifier refuses.
macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $one:ident $frags:ident ($($more:ident: $type:ty)?) $method:ident;)*) => {$(
        $(#[doc = $doc])+
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $one(ctx: *mut xdp_md, header: u32, ports: u32, $($more: $type)?) -> u64 {
            let ctx = XdpContext::new(ctx);
            let Some((syn, services)) = Syn::<false>::find(&ctx, header, ports) else { return NO_COOKIE };
            syn.$method(services, $($more)?).unwrap_or(NO_COOKIE)
        }

        /// The same for frames in several buffers.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $frags(ctx: *mut xdp_md, header: u32, ports: u32, $($more: $type)?) -> u64 {
            let ctx = XdpContext::new(ctx);
            let Some((syn, services)) = Syn::<true>::find(&ctx, header, ports) else { return NO_COOKIE };
            syn.$method(services, $($more)?).unwrap_or(NO_COOKIE)
        }
    )*};
}

functions! {
    /// The cookie of the headers alone, where that is enough; else [`NO_COOKIE`].
    bare_cookie bare_cookie_frags () bare;
    /// The cookie that the kernel makes for the socket; of a twin, and without the length of a header, 0 in its place. [`NO_COOKIE`]
    /// where there is none.
    socket_cookie socket_cookie_frags () of_socket;
    /// Notes that a socket took that cookie, where it is that of the headers alone. Says nothing.
    see_service see_service_frags (cookie: u64) see;
}

/// A TCP header that was copied to the element, cut off behind the option that a cookie says anything of.
#[derive(Clone, Copy)]
struct Shortened {
    /// Its bytes.
    length: u32,
    /// The maximum segment size that it says.
    most: u32,
}

/// This CPU's packet.
struct Syn<'a, const FRAGS: bool> {
    ctx: &'a XdpContext,
    packet: XdpPacket<'a, FRAGS>,
    observed: &'a Observed,
    /// Bytes of its TCP header, and its ports.
    header: u32,
    ports: u32,
    headers: &'a mut SynHeaders,
}

impl<'a, const FRAGS: bool> Syn<'a, FRAGS> {
    #[inline(always)]
    fn find(ctx: &'a XdpContext, header: u32, ports: u32) -> Option<(Self, &'a mut Services)> {
        let Scratch { observed, syn: headers, services, .. } = found(scratch())?;
        let packet = XdpPacket::<FRAGS>::of_length(ctx, observed.bytes as usize);
        Some((Self { ctx, packet, observed, header, ports, headers }, services))
    }

    #[inline(always)]
    fn bare(mut self, services: &mut Services) -> Option<u64> {
        let (short, tick) = (self.shortened()?, tick());
        let is_known = services.know(self.observed, self.ports, short.most, tick);
        if !is_known || may_be_connected(self.observed.source, tick) {
            return None;
        }
        self.of_headers(short)
    }

    /// Where the socket has a say in the cookie (its own maximum segment size), it is asked each time.
    #[inline(always)]
    fn see(mut self, services: &mut Services, cookie: u64) -> Option<u64> {
        if !notes_are_complete() {
            return None;
        }
        let (short, tick) = (self.shortened()?, tick());
        let (observed, ports) = (self.observed, self.ports);
        if !services.know(observed, ports, short.most, tick) && self.of_headers(short) == Some(cookie) {
            services.note(observed, ports, short.most, tick + SEEN_TICKS);
        }
        None
    }

    /// Copies the TCP header as far as a cookie depends on it; `None` where it does not lie in the first buffer, or its options
    /// begin with another than the maximum segment size, which no stack in wide use has it do.
    #[inline(always)]
    fn shortened(&mut self) -> Option<Shortened> {
        let (packet, transport) = (&self.packet, self.observed.offsets().1 as usize);
        let tcp = &mut self.headers.tcp;
        let start = packet.place::<{ TCP_HEADER as usize }>(transport)?;
        for (at, word) in tcp.iter_mut().take(TCP_HEADER as usize / 4).enumerate() {
            // SAFETY: all of them were just checked to lie in the buffer.
            *word = unsafe { core::ptr::read_unaligned(start.cast::<u32>().add(at)) };
        }
        if self.header == TCP_HEADER {
            return Some(Shortened { length: TCP_HEADER, most: 0 });
        }
        let option = packet.read::<u32>(transport + TCP_HEADER as usize)?;
        if option >> 16 != MOST_SEGMENT {
            return None;
        }
        tcp[TCP_HEADER as usize / 4] = option.to_be();
        let fourth = u32::from_be(tcp[3]);
        tcp[3] = (fourth & 0x0fff_ffff | 6 << 28).to_be();
        Some(Shortened { length: TCP_HEADER + 4, most: option & 0xffff })
    }

    /// The kernel's cookie of the headers alone.
    #[inline(always)]
    fn of_headers(&mut self, short: Shortened) -> Option<u64> {
        let (packet, network) = (&self.packet, self.observed.offsets().0 as usize);
        let tcp = self.headers.tcp.as_mut_ptr().cast();
        // SAFETY: the one header lies in the element, the other was just checked to lie in the buffer.
        let cookie = unsafe {
            if self.observed.family == family::V4 {
                let ip = packet.place::<{ IPV4_HEADER as usize }>(network)?;
                bpf_tcp_raw_gen_syncookie_ipv4(ip.cast_mut().cast(), tcp, short.length)
            } else {
                let ip = packet.place::<{ IPV6_HEADER as usize }>(network)?;
                bpf_tcp_raw_gen_syncookie_ipv6(ip.cast_mut().cast(), tcp.cast(), short.length)
            }
        };
        u64::try_from(cookie).ok()
    }

    /// The kernel's cookie, made for the socket that listens.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
    fn of_socket(self, _: &mut Services) -> Option<u64> {
        let Self { ctx, packet, observed, header, ports, headers } = self;
        copy(&packet, observed, header, headers)?;
        let SynHeaders { ip, tcp, tuple } = headers;
        let size = write_tuple(observed.family, [observed.source, observed.destination], ports, tuple);
        // SAFETY: the context is the run's own, and the tuple lies in the element, which has room for the longer one.
        let socket =
            unsafe { bpf_skc_lookup_tcp(ctx.ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
        if socket.is_null() {
            return None;
        }
        // What the verifier knows of where a number comes from is lost: it has to see that the very number is in bounds.
        let length = packet.blur(header as usize);
        let is_whole = (TCP_HEADER as usize..=MOST_TCP).contains(&length);
        // A twin leaves the socket alone: the kernel notes on it, in its statistics and in its log that it was short of room.
        if twin::IS_TWIN || !is_whole {
            // SAFETY: the socket is held, and not used from here on.
            unsafe { bpf_sk_release(socket.cast()) };
            return if twin::makes_cookies() { Some(0) } else { None };
        }
        let is_v4 = observed.family == family::V4;
        // SAFETY: the socket is held; both headers lie in the element, which has room for the longest.
        let cookie = unsafe {
            bpf_tcp_gen_syncookie(
                socket.cast(),
                ip.as_mut_ptr().cast(),
                if is_v4 { IPV4_HEADER } else { IPV6_HEADER },
                tcp.as_mut_ptr().cast(),
                length as u32,
            )
        };
        // SAFETY: the socket is held, and not used from here on.
        unsafe { bpf_sk_release(socket.cast()) };
        u64::try_from(cookie).ok()
    }
}

/// Copies the headers as they are in the frame, of TCP so many bytes.
#[inline(always)]
fn copy<const FRAGS: bool>(
    packet: &XdpPacket<'_, FRAGS>,
    observed: &Observed,
    header: u32,
    headers: &mut SynHeaders,
) -> Option<()> {
    let (network, transport) = observed.offsets();
    let is_v4 = observed.family == family::V4;
    for (at, word) in headers.ip.iter_mut().enumerate() {
        if is_v4 && at == 5 {
            break;
        }
        *word = packet.read::<u32>(network as usize + at * 4)?.to_be();
    }
    for (at, word) in headers.tcp.iter_mut().enumerate() {
        if at * 4 >= header as usize {
            break;
        }
        *word = packet.read::<u32>(transport as usize + at * 4)?.to_be();
    }
    Some(())
}

//! Ports of this machine for sites that are to find each other there.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Ports below are other services', by custom.
const LOWEST: u16 = 10_000;
/// Where the system draws ports for outgoing connections from, if it does not say.
const DRAWN_FROM: u16 = 32_768;
/// So many are tried for each that is found.
const TRIES: usize = 200;

/// Loopback addresses with so many different ports that are free now, for streams and datagrams. A site keeps its port for good, and
/// it is free while the site is down; so these are none of those that the system gives to outgoing connections, or to whoever
/// asks for any. They are drawn at random: others who look for some at the same moment hardly find the same.
///
/// # Errors
///
/// None was free, or the system has no more descriptors. Nothing has changed.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let beyond = drawn_from().clamp(LOWEST + 1_000, u16::MAX);
    let mut held = Vec::with_capacity(count);
    for _ in 0..count.saturating_mul(TRIES) {
        if held.len() == count {
            break;
        }
        let port = LOWEST + (crate::random() % u128::from(beyond - LOWEST)) as u16;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match (TcpListener::bind(at), UdpSocket::bind(at)) {
            (Ok(tcp), Ok(udp)) => held.push((at, tcp, udp)),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {}
            (Err(error), _) | (_, Err(error)) => return Err(error),
        }
    }
    if held.len() < count {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "no free ports on this machine"));
    }
    Ok(held.into_iter().map(|(at, _, _)| at).collect())
}

fn drawn_from() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|lowest| lowest.parse().ok()).unwrap_or(DRAWN_FROM)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn they_differ_and_are_not_drawn_by_the_system() {
        let all = free_addresses(200).expect("free ports");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 200);
        for at in all {
            assert!(at.port() >= LOWEST && at.port() < drawn_from().max(LOWEST + 1_000), "{at}");
        }
    }
}

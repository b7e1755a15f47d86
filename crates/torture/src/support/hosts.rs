//! Hosts on one bridge: network namespaces whose paths to each other can be cut, one way or both. Needs root and `ip`;
//! partial loss needs `nft`.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;

use super::verdict::{Verdict, failed, skipped};

static MADE: AtomicU32 = AtomicU32::new(0);

/// The loopback interface that a site's machine has: this machine's, or that of a host.
#[derive(Clone, Debug)]
pub struct Loopback(pub Option<String>);

impl Loopback {
    /// Connects to a port there, as a client on that machine.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let Some(namespace) = self.0.clone() else {
            return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        // A thread of its own, which ends in the namespace; its socket stays there.
        std::thread::spawn(move || {
            // Whoever asked may have gone.
            let _ = tell.send(connect_within(&namespace, port));
        });
        let stream = told.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

fn connect_within(namespace: &str, port: u16) -> io::Result<std::net::TcpStream> {
    let namespace = File::open(Path::new("/run/netns").join(namespace))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
}

/// Namespaces and their bridge; removed when dropped.
pub struct Hosts {
    bridge: String,
    names: Vec<String>,
}

impl Hosts {
    /// Makes so many; a reason to skip the scenario if that can't be done here.
    pub fn make(count: usize) -> Verdict<Hosts> {
        if !rustix::process::geteuid().is_root() {
            return skipped("only root makes network namespaces");
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return skipped("`ip` is missing (package iproute2)");
        }
        // Interface names have at most 15 bytes, and two harnesses may run at once.
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let id = format!("ut{:x}{nth:x}", std::process::id() & 0xff_ffff);
        let mut made = Hosts { bridge: format!("{id}b"), names: Vec::new() };
        if ip(&format!("link add {} type bridge", made.bridge)).is_err() {
            return skipped("this kernel or container allows no bridge");
        }
        ip(&format!("link set {} up", made.bridge))?;
        for i in 0..count {
            let (name, outside) = (format!("{id}n{i}"), format!("{id}v{i}"));
            ip(&format!("netns add {name}"))?;
            made.names.push(name.clone());
            ip(&format!("link add {outside} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {outside} master {} up", made.bridge))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", made.address(i)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(made)
    }

    pub fn count(&self) -> usize {
        self.names.len()
    }

    pub fn namespace(&self, i: usize) -> &str {
        &self.names[i]
    }

    pub fn address(&self, i: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 8, u8::try_from(i + 1).unwrap_or(u8::MAX))
    }

    /// What `from` sends to `to` is lost, silently: it goes to a hardware address that nobody has.
    pub fn cut_one_way(&self, from: usize, to: usize) -> Verdict {
        let (name, address) = (&self.names[from], self.address(to));
        ip(&format!("-n {name} neigh replace {address} lladdr 02:00:00:00:00:01 nud permanent dev eth0"))
    }

    pub fn heal_one_way(&self, from: usize, to: usize) -> Verdict {
        ip(&format!("-n {} neigh del {} dev eth0", self.names[from], self.address(to)))
    }

    /// Both ways.
    pub fn cut(&self, a: usize, b: usize) -> Verdict {
        self.cut_one_way(a, b)?;
        self.cut_one_way(b, a)
    }

    pub fn heal(&self, a: usize, b: usize) -> Verdict {
        self.heal_one_way(a, b)?;
        self.heal_one_way(b, a)
    }

    /// Of what `from` sends to `to`, so many in a hundred packets are lost.
    pub fn lose_one_way(&self, from: usize, to: usize, percent: u32) -> Verdict {
        if Command::new("nft").arg("--version").output().is_err() {
            return skipped("`nft` is missing (package nftables)");
        }
        let address = self.address(to);
        let rule = format!("ip daddr {address} numgen random mod 100 < {percent} drop");
        for command in [
            "add table ip torture",
            "add chain ip torture out { type filter hook output priority 0 ; }",
            &format!("add rule ip torture out {rule}"),
        ] {
            execute("ip", &["netns", "exec", &self.names[from], "nft", command])?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // Its end of the cable goes with it, and so does the other.
            let _ = ip(&format!("netns del {name}"));
        }
        let _ = ip(&format!("link del {}", self.bridge));
    }
}

fn ip(args: &str) -> Verdict {
    execute("ip", &args.split(' ').collect::<Vec<_>>())
}

fn execute(program: &str, args: &[&str]) -> Verdict {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => failed(format!("`{program} {args:?}`: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

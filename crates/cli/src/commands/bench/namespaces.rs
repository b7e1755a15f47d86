//! Three network namespaces on one bridge: hosts whose cable can be pulled. Needs root and `ip`.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use super::cluster::Places;

/// Namespaces with their bridge; removed when dropped.
pub struct Namespaces {
    bridge: String,
    names: Vec<String>,
}

impl Namespaces {
    /// Makes so many, or says why that can't be done here. What was made is removed again then.
    pub fn make(count: usize) -> Result<Namespaces, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes network namespaces".to_owned());
        }
        // Interface names have at most 15 bytes.
        let id = format!("un{:x}", std::process::id() & 0xff_ffff);
        let mut made = Namespaces { bridge: format!("{id}b"), names: Vec::new() };
        ip(&format!("link add {} type bridge", made.bridge))?;
        ip(&format!("link set {} up", made.bridge))?;
        for i in 1..=count {
            let name = format!("{id}n{i}");
            let outside = format!("{id}v{i}");
            ip(&format!("netns add {name}"))?;
            made.names.push(name.clone());
            ip(&format!("link add {outside} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {outside} master {} up", made.bridge))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", address(i)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(made)
    }

    /// For a cluster in them.
    pub fn places(&self) -> Places {
        let addresses = (1..=self.names.len()).map(|i| IpAddr::V4(address(i))).collect();
        Places { namespaces: self.names.clone(), addresses }
    }
}

/// Pulls a host's cable, or plugs it in again.
pub fn set_link(namespace: &str, up: bool) -> Result<(), String> {
    ip(&format!("-n {namespace} link set eth0 {}", if up { "up" } else { "down" }))
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // Its end of the cable goes with it, and so does the other.
            let _ = ip(&format!("netns del {name}"));
        }
        let _ = ip(&format!("link del {}", self.bridge));
    }
}

fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 7, u8::try_from(i).expect("a few hosts"))
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args.split(' '))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't run `ip`: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("`ip {args}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

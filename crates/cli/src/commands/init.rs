//! `init`: configuration and certificates for real machines.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::args;
use crate::commands::certificates::{Founder, MSERVERS, write_cluster};
use crate::failure::Failure;
use crate::output::say;

/// `unanimous init`.
pub fn run(args: &args::Init) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::refused(format!(
            "{} exists; name a folder that does not, so that no key is overwritten",
            args.out.display()
        )));
    }
    let founders = args.founders.iter().map(|text| founder(text)).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = founders.iter().map(|founder| founder.name.as_str()).collect();
    if names.len() != founders.len() || names.contains("ca") {
        return Err(Failure::usage("each founder needs a name of its own, and none may be called ca"));
    }
    let mservers = args.mservers.map_or(MSERVERS, |n| n as usize).min(founders.len());
    let written = write_cluster(&args.out, &founders, mservers)?;
    for (founder, config) in founders.iter().zip(&written) {
        let folder = args.out.join(&founder.name);
        say(&format!("{}: copy {} to its machine, then run", founder.name, folder.display()))?;
        let file = config.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        say(&format!("  unanimous site --config {}/{file}", founder.name))?;
    }
    if mservers < founders.len() {
        let eldest: Vec<&str> = founders[..mservers].iter().map(|founder| founder.name.as_str()).collect();
        say(&format!(
            "{} have an mserver and decide who is in; the other {} attach to them (--mservers says otherwise).",
            eldest.join(", "),
            founders.len() - mservers
        ))?;
    }
    say(&format!("Keep {} on no site: whoever has its key can make sites.", args.out.join("ca").display()))
}

/// Reads `NAME=HOST:PORT`.
pub fn founder(text: &str) -> Result<Founder, Failure> {
    let wrong = |why: &str| Failure::usage(format!("{text:?}: {why}; write NAME=HOST:PORT"));
    let (name, address) = text.split_once('=').ok_or_else(|| wrong("there is no '='"))?;
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
    let port: u16 = port.parse().map_err(|_| wrong("the port is no number"))?;
    if host.is_empty() || port == 0 {
        return Err(wrong("host or port is missing"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(good) || name.starts_with('.') {
        return Err(wrong("a name has letters, digits, '.', '_' and '-'"));
    }
    let any = if host.contains(':') {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let metrics = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9_464)));
    Ok(Founder {
        name: name.to_owned(),
        address: address.to_owned(),
        listen: SocketAddr::new(any, port),
        metrics,
        mail: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_are_read_or_refused_with_the_reason() {
        let good = founder("a=10.0.0.1:7000").map_err(|f| f.message).expect("a founder");
        assert_eq!((good.name.as_str(), good.listen.port()), ("a", 7000));
        for (text, why) in [
            ("a", "no '='"),
            ("a=host", "no port"),
            ("a=host:x", "no number"),
            ("a=:1", "missing"),
            ("=h:1", "letters"),
            ("a/b=h:1", "letters"),
        ] {
            match founder(text) {
                Err(failure) => assert!(failure.message.contains(why), "{}", failure.message),
                Ok(_) => panic!("{text} was taken"),
            }
        }
    }
}

//! `site move`: a site goes to another address and stays who it is. Its files are told so, and those of the others.

use std::path::{Path, PathBuf};

use unanimous::SiteConfig;

use crate::args::{Find, SiteMove};
use crate::commands::certificates::Founder;
use crate::commands::init::founder;
use crate::commands::site_add::known;
use crate::failure::Failure;
use crate::locate::default_dir;
use crate::output::{say, say_json};

/// The file in a site's folder.
const FILE: &str = "site.toml";

/// `unanimous site move`.
pub fn run(find: &Find, args: &SiteMove, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    let new = founder(&format!("{}={}", args.name, args.address))?;
    let sites = known(&dir)?;
    if !sites.iter().any(|config| config.site.name == new.name) {
        return Err(Failure::refused(format!(
            "no configuration of a site called {} is in {}; keep those that `init` and `site add` wrote there",
            new.name,
            dir.display()
        )));
    }
    // All of them are tried before any is put in place.
    let mut edited = Vec::new();
    for config in &sites {
        if let Some(edit) = Edited::make(&dir.join(&config.site.name), config, &new)? {
            edited.push(edit);
        }
    }
    let mut others = Vec::new();
    for edit in edited {
        if edit.name != new.name {
            others.push(edit.name.clone());
        }
        edit.put_in_place()?;
    }
    if json {
        return say_json(&serde_json::json!({ "name": new.name, "address": new.address, "others": others }));
    }
    let name = &new.name;
    say(&format!("{name} is at {} now, as its files and those of {} say.", new.address, list(&others)))?;
    say(&format!("1. Stop {name} where it runs. Two that run under one name shut each other out."))?;
    say(&format!(
        "2. Copy {} to the new machine, and its data directory as it is now.",
        dir.join(name).display()
    ))?;
    say("   Then move the old one away: it is an old copy, and must not be started again.")?;
    say(&format!("   If the data directory is lost, start without; then `unanimous site replace {name}`."))?;
    say(&format!(
        "3. Start it there. It dials the others; what was acknowledged does not wait for {name} meanwhile."
    ))?;
    say(&format!(
        "4. Copy site.toml of {} to their machines; it counts when they are next restarted.",
        list(&others)
    ))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody else".to_owned() } else { names.join(", ") }
}

/// A configuration with the new address in it, beside the one that it replaces.
struct Edited {
    name: String,
    path: PathBuf,
    new: PathBuf,
}

impl Edited {
    /// None if nothing changes.
    fn make(folder: &Path, config: &SiteConfig, site: &Founder) -> Result<Option<Edited>, Failure> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path)?;
        let own = config.site.name == site.name;
        let Some(text) = edit(&text, own, site) else { return Ok(None) };
        let edited = Edited { name: config.site.name.clone(), new: folder.join(".site.toml.new"), path };
        std::fs::write(&edited.new, text)?;
        // Whoever wrote the file may have written it in a way that is not understood here.
        let wanted = expected(config.clone(), own, site);
        let read = SiteConfig::read(&edited.new).map(|read| read.to_toml());
        if read.is_ok_and(|read| read == wanted.to_toml()) {
            return Ok(Some(edited));
        }
        Err(Failure::refused(format!(
            "{} is not written as `init` writes it; put {} into it by hand, as an address of {}",
            edited.path.display(),
            site.address,
            site.name
        )))
    }

    fn put_in_place(self) -> Result<(), Failure> {
        Ok(std::fs::rename(&self.new, &self.path)?)
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        // If it was put in place it is not there any more.
        let _ = std::fs::remove_file(&self.new);
    }
}

/// What the file should say.
fn expected(mut config: SiteConfig, own: bool, site: &Founder) -> SiteConfig {
    if own {
        config.site.link = link(site);
        if !config.site.addresses.is_empty() {
            config.site.addresses = vec![site.address.clone()];
        }
    }
    for peer in config.peers.iter_mut().filter(|peer| peer.name == site.name) {
        peer.addresses = vec![site.address.clone()];
    }
    config
}

/// Where it listens: everywhere, but on one machine at its own address.
fn link(site: &Founder) -> std::net::SocketAddr {
    let own = site.address.parse::<std::net::SocketAddr>().ok();
    own.filter(|address| address.ip().is_loopback()).unwrap_or(site.listen)
}

/// The text with the new address in the lines that have the old one; none if there is none. Whatever else stands in the
/// file stays as it is.
fn edit(text: &str, own: bool, site: &Founder) -> Option<String> {
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') {
            blocks.push(Vec::new());
        }
        blocks.last_mut()?.push(line);
    }
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let name = format!("{:?}", site.name);
    let mut edited = String::new();
    for block in blocks {
        let is = |header: &str| block.first().is_some_and(|line| line.trim() == header);
        let named = || {
            block.iter().any(|line| {
                line.split_once('=').is_some_and(|(key, value)| key.trim() == "name" && value.trim() == name)
            })
        };
        let (this, peer) = (own && is("[site]"), is("[[peer]]") && named());
        for line in block {
            match key(line).as_deref() {
                Some("addresses") if this || peer => {
                    edited.push_str(&format!("addresses = [{:?}]\n", site.address))
                }
                Some("link") if this => edited.push_str(&format!("link = \"{}\"\n", link(site))),
                Some(_) | None => edited.push_str(line),
            }
        }
    }
    (edited != text).then_some(edited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::certificates::write_cluster;

    fn site(text: &str) -> Founder {
        founder(text).map_err(|failure| failure.message).expect("a site")
    }

    #[test]
    fn every_file_learns_the_address_and_keeps_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        let sites = ["a=10.0.0.1:7000", "b=10.0.0.2:7000", "c=10.0.0.3:7000"].map(site);
        let Ok(_) = write_cluster(dir.path(), &sites, 7) else { panic!("it is written") };
        let path = dir.path().join("a").join(FILE);
        let before = std::fs::read_to_string(&path).expect("written");
        std::fs::write(&path, format!("# ours\n{before}")).expect("written");
        let find = Find { site: None, dir: Some(dir.path().to_owned()), cert: None, key: None, ca: None };
        let ask = |name: &str, address: &str| {
            let args = SiteMove { name: name.to_owned(), address: address.to_owned() };
            run(&find, &args, true).map_err(|failure| failure.message)
        };
        ask("b", "10.0.9.9:7009").expect("moved");
        ask("b", "10.0.9.9:7009").expect("twice is once");
        let read = |name: &str| SiteConfig::read(&dir.path().join(name).join(FILE)).expect("reads");
        for name in ["a", "c"] {
            let config = read(name);
            let b = config.peers.iter().find(|peer| peer.name == "b").expect("known");
            assert_eq!(b.addresses, ["10.0.9.9:7009"]);
            assert!(config.peers.iter().any(|peer| peer.addresses[0].starts_with("10.0.0.")));
        }
        assert_eq!(read("b").site.link.port(), 7009);
        let after = std::fs::read_to_string(&path).expect("there");
        assert!(after.starts_with("# ours\n"));
        assert!(!dir.path().join("a").join(".site.toml.new").exists());
        assert!(ask("x", "10.0.9.9:7009").expect_err("nobody").contains("no configuration"));

        // What is not understood is left alone, and so are all the others.
        std::fs::write(&path, after.replace("addresses = [", "addresses = [\n")).expect("written");
        assert!(ask("b", "10.0.8.8:7008").expect_err("by hand").contains("by hand"));
        assert_eq!(read("b").site.link.port(), 7009);
    }
}

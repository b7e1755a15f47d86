//! What a configuration says about the senders of letters from outside.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Name servers that a configuration may name.
const NAME_SERVERS_MAX: usize = 8;
/// Where a name server listens, if nothing else is said.
const DNS_PORT: u16 = 53;

/// What a site does about the senders of letters from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// Nobody is asked.
    Off,
    /// What is found out is written into the letter.
    Record,
    /// The same; and a letter that its author's domain disowns, and asks to refuse, is refused.
    Reject,
}

/// Name servers: `"ADDRESS"` or `"ADDRESS:PORT"`, one or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OneOrMore", into = "Vec<String>")]
pub struct NameServers(pub Vec<SocketAddr>);

impl NameServers {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Name servers as they are written.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<OneOrMore> for NameServers {
    type Error = String;

    fn try_from(written: OneOrMore) -> Result<NameServers, String> {
        let all = match written {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        if all.len() > NAME_SERVERS_MAX {
            return Err(format!("mail.resolver has at most {NAME_SERVERS_MAX} name servers"));
        }
        let read = |text: &String| {
            let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
            text.parse::<SocketAddr>().or_else(|_| alone()).map_err(|_| {
                format!(
                    "mail.resolver = {text:?}: name servers are ADDRESS or ADDRESS:PORT, as in \"[::1]:53\""
                )
            })
        };
        all.iter().map(read).collect::<Result<_, _>>().map(NameServers)
    }
}

impl From<NameServers> for Vec<String> {
    fn from(servers: NameServers) -> Vec<String> {
        servers.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MailConfig;

    #[test]
    fn name_servers_are_one_or_a_list_and_read_back() {
        let read = |line: &str| toml::from_str::<MailConfig>(&format!("domain = 'x.org'\n{line}"));
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (line, wanted) in [
            ("resolver = '127.0.0.1:5353'", vec![at("127.0.0.1:5353")]),
            ("resolver = '::1'", vec![at("[::1]:53")]),
            ("resolver = ['9.9.9.9', '[::1]:5353']", vec![at("9.9.9.9:53"), at("[::1]:5353")]),
            ("verify = 'reject'", vec![]),
        ] {
            let mail = read(line).expect(line);
            assert_eq!(mail.resolver.0, wanted, "{line}");
            let text = toml::to_string(&mail).expect("it is plain data");
            assert_eq!(toml::from_str::<MailConfig>(&text).expect("it reads back"), mail);
        }
        let many = format!("resolver = [{}]", "'::1', ".repeat(NAME_SERVERS_MAX + 1));
        for wrong in
            ["resolver = 'dns.x.org'", "resolver = '::1:x'", "resolver = 53", "verify = 'maybe'", &many]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        // What is not said is not written: a program that knows neither reads the file.
        let text = toml::to_string(&MailConfig::of("x.org")).expect("it is plain data");
        assert!(!text.contains("resolver") && !text.contains("verify"), "{text}");
    }
}

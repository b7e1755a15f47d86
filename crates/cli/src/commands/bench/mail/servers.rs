//! Where a server that is loaded serves what: ours, or anybody's.

use std::net::SocketAddr;
use std::str::FromStr;

/// A server's ports that take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    pub lmtp: Option<SocketAddr>,
    pub smtp: Option<SocketAddr>,
    pub submission: Option<SocketAddr>,
    pub imap: Option<SocketAddr>,
}

impl Servers {
    /// What `--against` has named.
    pub fn of(named: &[Server]) -> Servers {
        let at = |what: Protocol| named.iter().find(|server| server.what == what).map(|server| server.at);
        Servers {
            lmtp: at(Protocol::Lmtp),
            smtp: at(Protocol::Smtp),
            submission: at(Protocol::Submission),
            imap: at(Protocol::Imap),
        }
    }
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Lmtp,
    Smtp,
    Submission,
    Imap,
}

/// One of a server's ports, as it is named: `lmtp=127.0.0.1:24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    what: Protocol,
    at: SocketAddr,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let why = || format!("{text:?}: say lmtp=IP:PORT, smtp=IP:PORT, submission=IP:PORT or imap=IP:PORT");
        let (what, at) = text.split_once('=').ok_or_else(why)?;
        let what = match what {
            "lmtp" => Protocol::Lmtp,
            "smtp" => Protocol::Smtp,
            "submission" => Protocol::Submission,
            "imap" => Protocol::Imap,
            _ => return Err(why()),
        };
        Ok(Server { what, at: at.parse().map_err(|_| why())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_what_they_speak() {
        let named = ["imap=127.0.0.1:143", "lmtp=[::1]:24"].map(|text| text.parse().expect("it is one"));
        let servers = Servers::of(&named);
        assert_eq!(servers.imap, Some("127.0.0.1:143".parse().expect("an address")));
        assert_eq!(servers.lmtp, Some("[::1]:24".parse().expect("an address")));
        assert_eq!((servers.smtp, servers.submission), (None, None));
        for wrong in ["imap", "pop3=127.0.0.1:110", "imap=localhost:143", "imap=127.0.0.1"] {
            let why = wrong.parse::<Server>().expect_err("it is none");
            assert!(why.contains("say lmtp=IP:PORT"), "{why}");
        }
    }
}

//! A site that does what a test says, one session at a time.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use unanimous::session::Address;
use unanimous::session::protocol::Decoder;

/// A site that listens.
pub struct Site {
    name: &'static str,
    listener: UnixListener,
    path: PathBuf,
    _folder: TempDir,
}

impl Site {
    pub fn new(name: &'static str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("session.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        Site { name, listener, path, _folder: folder }
    }

    pub fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    /// The next session, greeted.
    pub async fn accept(&self) -> Session {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut session = Session { stream, decoder: Decoder::default() };
        session
            .say(json!({"event": "hello", "versions": [1, 1], "site": self.name, "cluster": "00", "feature_level": 1}))
            .await;
        let (hello, _) = session.hear().await;
        assert_eq!(hello["op"], "hello");
        let process = format!("{}.1/1", self.name);
        session.say(json!({"re": hello["id"], "ok": true, "process": process, "principal": "member", "credit": 1})).await;
        session
    }
}

/// A session's end at the site.
pub struct Session {
    stream: UnixStream,
    decoder: Decoder,
}

impl Session {
    pub async fn say(&mut self, line: Value) {
        self.say_with(line, b"").await;
    }

    pub async fn say_with(&mut self, line: Value, body: &[u8]) {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await.expect("the program listens");
    }

    /// The next request that is not a grant of credit.
    pub async fn hear(&mut self) -> (Value, Vec<u8>) {
        loop {
            if let Some(item) = self.decoder.next().expect("well-formed") {
                let line: Value = item.parse().expect("a line of JSON");
                if line["op"] != "credit" {
                    return (line, item.body.to_vec());
                }
                continue;
            }
            let read = self.stream.read_buf(self.decoder.buffer()).await.expect("the program speaks");
            assert!(read > 0, "the program ended the session");
        }
    }

    /// Hears a request of this kind and agrees to it.
    pub async fn agree(&mut self, op: &str, answer: Value) -> (Value, Vec<u8>) {
        let (line, body) = self.hear().await;
        assert_eq!(line["op"], op, "{line}");
        let mut full = json!({"re": line["id"], "ok": true});
        for (key, value) in answer.as_object().expect("fields") {
            full[key] = value.clone();
        }
        self.say(full).await;
        (line, body)
    }

    /// A view of `chat` in which the program is the last of `members`.
    pub async fn view(&mut self, epoch: u64, members: &[&str]) {
        let last = members.last().expect("a member");
        self.say(json!({
            "event": "view", "group": "chat", "id": format!("{epoch}-0-s1.1"), "primary": true, "lives": true,
            "rank": members.len() - 1, "members": members, "joined": [last], "left": [],
        }))
        .await;
    }
}

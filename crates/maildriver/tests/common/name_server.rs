//! A name server on this machine that knows what a test tells it. It speaks UDP, by hand, so that what it says can be wrong.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::disallowed_methods, reason = "it has a thread of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const A: u16 = 1;
const MX: u16 = 15;
const TXT: u16 = 16;
const FAILED: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What it says of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// A text.
    Txt(String),
    /// An address.
    A(Ipv4Addr),
    /// Who takes the name's mail.
    Mx(&'static str),
    /// SERVFAIL, whatever is asked.
    Fails,
    /// Nothing at all.
    Silent,
    /// Before it answers it sends this text in answers that are not to be believed: with another number, and to another
    /// question. And behind the right answer it adds it as the text of this other name.
    Forged(&'static str, &'static str),
}

/// The server. It ends when this is dropped.
pub struct NameServer {
    at: SocketAddr,
    names: Arc<Mutex<BTreeMap<String, Vec<Says>>>>,
    asked: Arc<Mutex<BTreeSet<(String, u16)>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = socket.local_addr().expect("it is bound");
        let (names, asked, over) = (Arc::default(), Arc::default(), Arc::default());
        let mut server = NameServer { at, names, asked, over, thread: None };
        let (names, asked) = (Arc::clone(&server.names), Arc::clone(&server.asked));
        let over = Arc::clone(&server.over);
        server.thread = Some(std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                if over.load(Ordering::Acquire) {
                    return;
                }
                let Some(question) = Question::read(&buffer[..length]) else { continue };
                asked.lock().expect("nobody panics").insert((question.name.clone(), question.kind));
                let says = names.lock().expect("nobody panics").get(&question.name).cloned();
                for answer in question.answers(says.as_deref()) {
                    // Whoever asked may have gone.
                    let _ = socket.send_to(&answer, from);
                }
            }
        }));
        server
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on it says this, too.
    pub fn tell(&self, name: &str, says: Says) {
        self.names.lock().expect("nobody panics").entry(name.to_owned()).or_default().push(says);
    }

    /// A text of a name.
    pub fn text(&self, name: &str, text: &str) {
        self.tell(name, Says::Txt(text.to_owned()));
    }

    /// How much it was asked; a question that is repeated is one.
    pub fn asked(&self) -> usize {
        self.asked.lock().expect("nobody panics").len()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let (Ok(socket), Some(thread)) = (UdpSocket::bind("127.0.0.1:0"), self.thread.take()) {
            let _ = socket.send_to(b"over", self.at);
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Question {
    id: [u8; 2],
    name: String,
    kind: u16,
    /// As it was asked.
    bytes: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Question> {
        let (header, rest) = packet.split_at_checked(12)?;
        let (mut labels, mut at) = (Vec::new(), 0);
        loop {
            let length = usize::from(*rest.get(at)?);
            let label = rest.get(at + 1..at + 1 + length)?;
            at += 1 + length;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(label).to_lowercase());
        }
        let kind = u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?);
        let bytes = rest.get(..at + 4)?.to_vec();
        Some(Question { id: [header[0], header[1]], name: labels.join("."), kind, bytes })
    }

    fn answers(&self, says: Option<&[Says]>) -> Vec<Vec<u8>> {
        let Some(says) = says else { return vec![self.answer(NO_SUCH_NAME, &[])] };
        let (mut before, mut records, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for says in says {
            let (kind, data) = match says {
                Says::Silent => return Vec::new(),
                Says::Fails => return vec![self.answer(FAILED, &[])],
                Says::Txt(text) => (TXT, strings(text)),
                Says::A(address) => (A, address.octets().to_vec()),
                Says::Mx(name) => (MX, [&[0, 10], &*labels(name)].concat()),
                Says::Forged(other, text) => {
                    let forged = record(&[0xc0, 12], TXT, &strings(text));
                    let id = [self.id[0], self.id[1].wrapping_add(1)];
                    before.push(Question { id, name: String::new(), ..self.clone() }.answer(0, &[forged]));
                    let elsewhere = record(&labels(other), TXT, &strings(text));
                    let bytes = [&*labels(other), &TXT.to_be_bytes(), &[0, 1]].concat();
                    before
                        .push(Question { bytes, ..self.clone() }.answer(0, std::slice::from_ref(&elsewhere)));
                    behind.push(elsewhere);
                    continue;
                }
            };
            if kind == self.kind {
                // The name is the question's.
                records.push(record(&[0xc0, 12], kind, &data));
            }
        }
        records.append(&mut behind);
        before.push(self.answer(0, &records));
        before
    }

    fn answer(&self, code: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let count = u16::try_from(records.len()).expect("few").to_be_bytes();
        let flags = [0x81, 0x80 | code];
        let header = [&self.id[..], &flags, &[0, 1], &count, &[0; 4]].concat();
        [header, self.bytes.clone(), records.concat()].concat()
    }
}

fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("it fits").to_be_bytes();
    [name, &kind.to_be_bytes(), &[0, 1], &300u32.to_be_bytes(), &length, data].concat()
}

fn labels(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).expect("it is short")], label.as_bytes()].concat();
    let mut bytes: Vec<u8> = name.split('.').flat_map(label).collect();
    bytes.push(0);
    bytes
}

/// A text in pieces of at most 255 bytes.
fn strings(text: &str) -> Vec<u8> {
    let piece = |piece: &[u8]| [&[u8::try_from(piece.len()).expect("at most 255")], piece].concat();
    text.as_bytes().chunks(255).flat_map(piece).collect()
}

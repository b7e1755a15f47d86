//! Letters that say which they are, and whose text follows from that.

pub const DOMAIN: &str = "torture.test";
const LINE: &str = "A line that is neither long nor short, and says little.\r\n";

/// What is asked of a letter's header to know which it is.
pub const HEADER: &str = "BODY.PEEK[HEADER.FIELDS (SUBJECT)]";

/// A letter. `named`: it has a Message-ID, by which a repeat is known.
pub fn text(id: &str, named: bool) -> String {
    let name = if named { format!("Message-ID: <{id}@{DOMAIN}>\r\n") } else { String::new() };
    format!("From: someone@elsewhere.example\r\nTo: all@{DOMAIN}\r\nSubject: {id}\r\n{name}\r\n{}", body(id))
}

/// Which letter this is, by its header.
pub fn id(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "))?;
    Some(subject.trim_end().to_owned())
}

/// Whether its body is what it was.
pub fn is_whole(id: &str, text: &[u8]) -> bool {
    text.ends_with(format!("\r\n\r\n{}", body(id)).as_bytes())
}

/// Most are short; one in sixteen has more than a place for long letters is needed for.
fn body(id: &str) -> String {
    let sum = id.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let lines = if sum % 16 == 0 { 700 } else { 1 + sum % 40 };
    format!("{id}\r\n{}", LINE.repeat(lines as usize))
}

//! What an IMAP server said, judged as a client reads it.

/// Cuts it into lines, each literal as one `~`. Panics where a client would lose its place.
pub fn lines(out: &[u8]) -> Vec<String> {
    let (mut lines, mut line, mut at) = (Vec::new(), String::new(), 0);
    while at < out.len() {
        let rest = &out[at..];
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line ends with CR LF");
        let text = &rest[..end];
        assert!(
            !text.iter().any(|b| b"\r\n\0".contains(b)),
            "within a line: {:?}",
            String::from_utf8_lossy(text)
        );
        line.push_str(&String::from_utf8_lossy(text));
        at += end + 2;
        match literal(text) {
            Some(len) => {
                assert!(at + len <= out.len(), "a literal of {len} bytes, and {} are there", out.len() - at);
                at += len;
                line.push('~');
            }
            None => lines.push(std::mem::take(&mut line)),
        }
    }
    assert!(line.is_empty(), "it ends with a literal: {line}");
    lines
}

fn literal(text: &[u8]) -> Option<usize> {
    let inner = text.strip_suffix(b"}")?;
    let begin = inner.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&inner[begin + 1..]).ok()?.parse().ok()
}

/// Whether what is open is closed, outside of quoted strings.
pub fn balanced(line: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_i64, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0 && !quoted
}

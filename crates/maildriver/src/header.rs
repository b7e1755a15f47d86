//! The header of a letter or of a part of one: its fields, as they are written.

/// The length of a header with the empty line that ends it.
pub(crate) fn header_length(entity: &[u8]) -> usize {
    let mut at = 0;
    while at < entity.len() {
        let end = entity[at..].iter().position(|b| *b == b'\n').map_or(entity.len(), |n| at + n + 1);
        if matches!(&entity[at..end], b"\n" | b"\r\n") {
            return end;
        }
        at = end;
    }
    entity.len()
}

/// The fields of a header: their names, and the whole field with its line ends.
pub(crate) fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &header[at..];
        if rest.is_empty() || matches!(rest, b"\n" | b"\r\n") {
            return None;
        }
        let mut end = 0;
        loop {
            end = rest[end..].iter().position(|b| *b == b'\n').map_or(rest.len(), |n| end + n + 1);
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        at += end;
        let field = &rest[..end];
        let colon = field.iter().position(|b| *b == b':').unwrap_or(0);
        Some((field[..colon].trim_ascii(), field))
    })
}

/// The first field of a name: its value, unfolded.
pub(crate) fn field(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let (found, field) = fields(header).find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))?;
    let colon = field.iter().position(|b| *b == b':').unwrap_or(found.len());
    let value = field.get(colon + 1..).unwrap_or_default();
    let unfolded: Vec<u8> = value.iter().copied().filter(|b| !b"\r\n".contains(b)).collect();
    Some(unfolded.trim_ascii().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_unfolded() {
        assert_eq!(fields(b"A: 1\r\n 2\r\nb : 3\r\n\r\n").count(), 2);
        assert_eq!(field(b"A: 1\r\n 2\r\nb : 3\r\n\r\n", "a").unwrap(), b"1 2");
        assert_eq!(field(b"A: 1\r\n 2\r\nb : 3\r\n\r\n", "B").unwrap(), b"3");
    }
}

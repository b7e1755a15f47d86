//! Answers that may be long: a page at a time, as the answer's body.

use bytes::Bytes;
use mail::BadName;
use serde::Serialize;
use serde_json::json;
use site::Answered;
use wire::session::{Failure, PageOf};

use super::{bad, told};

/// Items of one answer, at most; and if nothing is said.
const ITEMS_MAX: usize = 1_000;
/// Bytes of one answer, unless its first item is longer.
const BYTES_MAX: usize = 16 << 20;

/// What a page goes on behind, if it is not the first.
pub(super) fn after<T>(
    page: &PageOf,
    parse: impl FnOnce(&str) -> Result<T, BadName>,
) -> Result<Option<T>, Failure> {
    let parsed = page.after.as_deref().map(parse).transpose();
    parsed.map_err(|error| bad(format!("after: {error}; it is what the last answer said")))
}

/// The first of some items, each with the name behind which a next page goes on.
pub(super) fn page<T: Serialize>(page: &PageOf, items: impl Iterator<Item = (String, T)>) -> Answered {
    let limit = page.limit.unwrap_or(ITEMS_MAX).clamp(1, ITEMS_MAX);
    let mut body = vec![b'['];
    let (mut last, mut after, mut count) = (None, None, 0);
    for (name, item) in items {
        let item = serde_json::to_vec(&item).unwrap_or_default();
        if count == limit || count > 0 && body.len() + item.len() > BYTES_MAX {
            after = last;
            break;
        }
        if count > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item);
        (last, count) = (Some(name), count + 1);
    }
    body.push(b']');
    let (told, _) = told(json!({"head_len": body.len(), "after": after}))?;
    Ok((told, Bytes::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(asked: &PageOf, count: u32) -> (Vec<u32>, Option<String>) {
        let first = asked.after.as_ref().map_or(0, |after| after.parse::<u32>().expect("a number") + 1);
        let items = (first..count).map(|number| (number.to_string(), number));
        let (told, body) = page(asked, items).expect("an answer");
        assert_eq!(told["head_len"], body.len());
        let after = told["after"].as_str().map(str::to_owned);
        (serde_json::from_slice(&body).expect("a list"), after)
    }

    #[test]
    fn pages_have_everything_once() {
        for (count, limit, pages) in
            [(0, None, 1), (1_000, None, 1), (1_001, None, 2), (7, Some(2), 4), (3, Some(0), 3)]
        {
            let mut asked = PageOf { limit, ..PageOf::default() };
            let (mut all, mut seen) = (Vec::new(), 0);
            loop {
                let (items, after) = numbers(&asked, count);
                all.extend(items);
                seen += 1;
                match after {
                    Some(_) => asked.after = after,
                    None => break,
                }
            }
            assert_eq!((all, seen), ((0..count).collect(), pages), "{count} by {limit:?}");
        }
    }

    #[test]
    fn long_items_make_short_pages() {
        let long = || "x".repeat(BYTES_MAX);
        let items = (0..3).map(|number| (number.to_string(), long()));
        let (told, body) = page(&PageOf::default(), items).expect("an answer");
        assert_eq!((told["after"].as_str(), body.len()), (Some("0"), BYTES_MAX + 4));
    }
}

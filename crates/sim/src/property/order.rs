//! Whether several sequences can be one order: what both total orders are checked with.

use std::collections::BTreeMap;

use crate::history::Message;

/// Looks for an order of all messages with which every sequence agrees. If there is none, returns a message
/// that would have to come before itself.
pub(super) fn contradiction<'a>(sequences: impl IntoIterator<Item = &'a [Message]>) -> Option<Message> {
    let mut after: BTreeMap<Message, Vec<Message>> = BTreeMap::new();
    let mut before: BTreeMap<Message, usize> = BTreeMap::new();
    for sequence in sequences {
        for &message in sequence {
            before.entry(message).or_default();
        }
        for pair in sequence.windows(2) {
            after.entry(pair[0]).or_default().push(pair[1]);
            *before.entry(pair[1]).or_default() += 1;
        }
    }
    let mut ready: Vec<Message> = before.iter().filter(|(_, n)| **n == 0).map(|(m, _)| *m).collect();
    while let Some(message) = ready.pop() {
        before.remove(&message);
        for next in after.get(&message).into_iter().flatten() {
            let waits =
                before.get_mut(next).expect("what comes after is not placed before what it waits for");
            *waits -= 1;
            if *waits == 0 {
                ready.push(*next);
            }
        }
    }
    before.keys().next().copied()
}

#[cfg(test)]
mod tests {
    use super::contradiction;

    #[test]
    fn sequences_agree_if_one_order_extends_them_all() {
        assert_eq!(contradiction([&[1, 2, 3][..], &[1, 3], &[2, 3, 9]]), None);
        assert_eq!(contradiction([&[1, 2][..], &[1, 2]]), None);
        assert!(contradiction([&[1, 2][..], &[2, 1]]).is_some());
        // No two of these disagree, the three do.
        assert!(contradiction([&[1, 2][..], &[2, 3], &[3, 1]]).is_some());
    }
}

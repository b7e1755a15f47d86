//! Sums of hashes: what sites compare. A sum does not depend on the order in which its parts were added, and
//! a part that is taken out again leaves no trace, so the many (letters, and their records in mailboxes) are
//! summed as they change and only the few are walked [Mail 11].

use siphasher::sip128::SipHasher13;

/// The sum of the hashes of a set of things. It finds faults and not forgers: the key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Sum(u128);

/// What a part is, so that equal bytes of two kinds differ.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Record = 1,
    Letter,
    Request,
    Item,
}

const KEY: u64 = 0x756e_616e_696d_6f75;

impl Sum {
    pub(crate) fn add(&mut self, part: Part, bytes: &[u8]) {
        self.0 = self.0.wrapping_add(hash(part, bytes));
    }

    pub(crate) fn remove(&mut self, part: Part, bytes: &[u8]) {
        self.0 = self.0.wrapping_sub(hash(part, bytes));
    }

    pub(crate) fn value(self) -> u128 {
        self.0
    }
}

fn hash(part: Part, bytes: &[u8]) -> u128 {
    SipHasher13::new_with_keys(KEY, part as u64).hash(bytes).as_u128()
}

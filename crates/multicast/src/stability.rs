//! Who has acknowledged what, and what therefore every site has.

/// Cumulative acknowledgements of every site about every site's sequence and about the order list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stability {
    n: usize,
    /// `acked[j * n + s]`: how much of site `s` site `j` has acknowledged.
    acked: Vec<u64>,
    stable: Vec<u64>,
    order_acked: Vec<u64>,
    order_stable: u64,
    /// `delivered[j * n + s]`: how much of site `s` site `j` has said to have delivered. Told only where safe
    /// messages are about: without them, what is stable with its order is delivered.
    delivered: Vec<u64>,
}

impl Stability {
    pub(crate) fn new(n: usize) -> Stability {
        Stability {
            n,
            acked: vec![0; n * n],
            stable: vec![0; n],
            order_acked: vec![0; n],
            order_stable: 0,
            delivered: vec![0; n * n],
        }
    }

    /// Site `j` acknowledges site `s` up to `upto`. Says whether more of `s` is stable now.
    pub(crate) fn ack(&mut self, j: usize, s: usize, upto: u64) -> bool {
        let cell = &mut self.acked[j * self.n + s];
        let before = *cell;
        if upto <= before {
            return false;
        }
        *cell = upto;
        if before > self.stable[s] {
            return false;
        }
        let stable = (0..self.n).map(|j| self.acked[j * self.n + s]).min().unwrap_or(upto);
        let grew = stable > self.stable[s];
        self.stable[s] = self.stable[s].max(stable);
        grew
    }

    /// Site `j` acknowledges the first `upto` runs of the order list.
    pub(crate) fn ack_order(&mut self, j: usize, upto: u64) -> bool {
        self.order_acked[j] = self.order_acked[j].max(upto);
        let stable = self.order_acked.iter().copied().min().unwrap_or(upto);
        let grew = stable > self.order_stable;
        self.order_stable = self.order_stable.max(stable);
        grew
    }

    /// Site `j` says that it has delivered site `s` up to `upto`.
    pub(crate) fn note_delivered(&mut self, j: usize, s: usize, upto: u64) {
        let cell = &mut self.delivered[j * self.n + s];
        *cell = upto.max(*cell);
    }

    /// Whether site `j` has said to have delivered all this.
    pub(crate) fn has_delivered(&self, j: usize, heads: &[u64]) -> bool {
        self.delivered[j * self.n..].iter().zip(heads).all(|(told, head)| told >= head)
    }

    /// Takes over what another site knows to be stable (M10).
    pub(crate) fn learn(&mut self, stable: &[u64], order_stable: u64) {
        for (mine, theirs) in self.stable.iter_mut().zip(stable) {
            *mine = (*mine).max(*theirs);
        }
        self.order_stable = self.order_stable.max(order_stable);
    }

    pub(crate) fn acked(&self, j: usize, s: usize) -> u64 {
        self.acked[j * self.n + s]
    }

    pub(crate) fn stable(&self) -> &[u64] {
        &self.stable
    }

    pub(crate) fn order_stable(&self) -> u64 {
        self.order_stable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_is_what_all_have_acknowledged() {
        let mut stability = Stability::new(3);
        assert!(!stability.ack(0, 1, 5));
        assert!(!stability.ack(1, 1, 7));
        assert!(stability.ack(2, 1, 3));
        assert_eq!(stability.stable(), [0, 3, 0]);
        assert!(stability.ack(2, 1, 9));
        assert_eq!(stability.stable(), [0, 5, 0]);
        assert!(!stability.ack(2, 1, 8));
    }
}

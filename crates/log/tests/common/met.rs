//! What seeds have met.

/// What one seed met, to see that seeds meet what they should.
#[derive(Default, Clone, Copy, Debug)]
pub struct Met {
    pub lives: u64,
    pub appended: u64,
    pub synced: u64,
    pub crashes_in_calls: u64,
    pub crashes_in_opening: u64,
    pub failed_syncs: u64,
    pub full: u64,
    pub truncations: u64,
    pub checkpoints: u64,
    pub compactions: u64,
    pub torn: u64,
    pub damaged: u64,
    pub repaired: u64,
}

impl Met {
    pub fn add(&mut self, other: Met) {
        self.lives += other.lives;
        self.appended += other.appended;
        self.synced += other.synced;
        self.crashes_in_calls += other.crashes_in_calls;
        self.crashes_in_opening += other.crashes_in_opening;
        self.failed_syncs += other.failed_syncs;
        self.full += other.full;
        self.truncations += other.truncations;
        self.checkpoints += other.checkpoints;
        self.compactions += other.compactions;
        self.torn += other.torn;
        self.damaged += other.damaged;
        self.repaired += other.repaired;
    }
}

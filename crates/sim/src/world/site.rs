//! What the world keeps of one site, dead or alive.

use bytes::Bytes;
use wire::Time;

use super::clock::Clock;
use super::disk::Disk;
use super::network::Epoch;
use crate::dice::{Concern, Dice};
use crate::host::Connection;

/// Something that comes to a site.
#[derive(Debug)]
pub(super) enum Input {
    /// A packet, on a connection or by itself.
    Packet { from: usize, on: Option<Epoch>, bytes: Bytes },
    /// News of a connection.
    Connection { peer: usize, connection: Connection },
    /// The oldest write is done.
    WriteDone,
}

/// One site's place.
pub(super) struct Slot<H> {
    /// The machine, while it lives.
    pub host: Option<Box<H>>,
    /// Survives it.
    pub disk: Disk,
    /// Which start of any site this life is; what is meant for another is not delivered.
    pub boot: u64,
    /// Shown to this life.
    pub clock: Clock,
    /// Whether the machine under it answers.
    pub machine_up: bool,
    /// What came while it was stopped, if it is.
    pub backlog: Option<Vec<Input>>,
    /// Whether it has been given something in this turn.
    pub in_turn: bool,
    /// When it is to be woken, and by which event.
    pub timer: Option<(Time, u64)>,
    /// After so many more packets it dies.
    pub doom: Option<u64>,
    /// The phase of the change that it coordinates, and since when.
    pub phase: Option<(&'static str, Time)>,
}

impl<H> Slot<H> {
    pub(super) fn new(disk: Disk) -> Slot<H> {
        let clock = Clock::start(Time::ZERO, 0, &mut Dice::new(0, Concern::Clock));
        Slot {
            host: None,
            disk,
            boot: 0,
            clock,
            machine_up: true,
            backlog: None,
            in_turn: false,
            timer: None,
            doom: None,
            phase: None,
        }
    }

    /// Makes the place ready for a new life.
    pub(super) fn reset(&mut self, boot: u64, clock: Clock) {
        self.boot = boot;
        self.clock = clock;
        self.machine_up = true;
        self.backlog = None;
        self.in_turn = false;
        self.timer = None;
        self.doom = None;
        self.phase = None;
    }
}

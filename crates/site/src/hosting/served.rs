//! What a site serves of its durable groups: their applications.

use bytes::Bytes;
use durable::{Application, Applying, Locator, NotRestored, Parts};
use tools::catalog::{Catalog, Kind};
use tools::map::{self, Map};

use crate::service::{Kept, Service, Services, Standing};

/// One group's state at this site.
pub(crate) enum Served {
    Catalog(Catalog),
    Map(Box<Map>),
    /// A service that the program brings.
    Service(Kind, Box<dyn Service>),
}

/// How the parts of a checkpoint are read before they are taken in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// As a map's: most of the work is in the reading, which needs no order.
    Map,
    /// Not at all.
    AsItIs,
}

/// A part of a checkpoint that was read.
#[derive(Debug)]
pub(super) enum Part {
    Map(map::Part),
    AsItIs(Locator, Bytes),
}

impl Reading {
    /// Reads a part, on any thread.
    ///
    /// # Errors
    ///
    /// It is none of these.
    pub(super) fn read(self, at: Locator, part: Bytes) -> Result<Part, NotRestored> {
        match self {
            Reading::Map => map::Part::read(&at, &part).map(Part::Map),
            Reading::AsItIs => Ok(Part::AsItIs(at, part)),
        }
    }
}

impl Served {
    /// How the parts of its checkpoint are read.
    pub(super) fn reading(&self) -> Reading {
        match self {
            Served::Map(_) => Reading::Map,
            Served::Catalog(_) | Served::Service(..) => Reading::AsItIs,
        }
    }

    /// Takes in a part that was read so.
    ///
    /// # Errors
    ///
    /// It is none of this state's, which is of no use any more.
    pub(super) fn take_in(&mut self, part: Part) -> Result<(), NotRestored> {
        match (self, part) {
            (Served::Map(map), Part::Map(part)) => map.take_in(part),
            (served, Part::AsItIs(at, part)) => served.restore(&at, part),
            (_, Part::Map(_)) => Err(NotRestored { domain: 0 }),
        }
    }

    /// The new state of a group of this kind; none, if the program brings no service of it.
    pub(super) fn new(kind: Kind, services: &Services) -> Option<Served> {
        match kind {
            Kind::Map => Some(Served::Map(Box::default())),
            Kind::Mail => {
                let service = services.applications.get(&kind)?;
                Some(Served::Service(kind, service.renewed()))
            }
        }
    }

    /// The same kind, and new.
    pub(super) fn renewed(&self) -> Served {
        match self {
            Served::Catalog(_) => Served::Catalog(Catalog::default()),
            Served::Map(_) => Served::Map(Box::default()),
            Served::Service(kind, service) => Served::Service(*kind, service.renewed()),
        }
    }

    /// Whether it is a group of this kind.
    pub(super) fn is(&self, kind: Kind) -> bool {
        match self {
            Served::Catalog(_) => false,
            Served::Map(_) => kind == Kind::Map,
            Served::Service(own, _) => kind == *own,
        }
    }

    /// All parts of its checkpoint were read.
    pub(super) fn whole(&mut self) -> Result<(), String> {
        match self {
            Served::Catalog(_) | Served::Map(_) => Ok(()),
            Served::Service(_, service) => service.whole(),
        }
    }

    /// This is the state that is served from now on.
    pub(super) fn enter(&mut self) {
        match self {
            Served::Catalog(_) | Served::Map(_) => {}
            Served::Service(_, service) => service.enter(),
        }
    }

    /// How its group stands from now on.
    pub(super) fn stands(&mut self, standing: Standing) {
        match self {
            Served::Catalog(_) | Served::Map(_) => {}
            Served::Service(_, service) => service.stands(standing),
        }
    }

    /// The entries whose payloads it keeps; none, if it is not one that keeps any.
    pub(super) fn kept(&self) -> Option<Kept> {
        match self {
            Served::Catalog(_) | Served::Map(_) => None,
            Served::Service(_, service) => Some(service.kept()),
        }
    }

    /// Whether a payload is kept now.
    pub(super) fn keeps(&self, position: u64) -> bool {
        match self {
            Served::Catalog(_) | Served::Map(_) => false,
            Served::Service(_, service) => service.keeps(position),
        }
    }

    /// Whether this may be a payload that it keeps.
    pub(super) fn is_payload(&self, position: u64, payload: &Bytes) -> bool {
        match self {
            Served::Catalog(_) | Served::Map(_) => false,
            Served::Service(_, service) => service.is_payload(position, payload),
        }
    }

    fn application(&self) -> &dyn Application {
        match self {
            Served::Catalog(catalog) => catalog,
            Served::Map(map) => &**map,
            Served::Service(_, service) => &**service,
        }
    }

    fn application_mut(&mut self) -> &mut dyn Application {
        match self {
            Served::Catalog(catalog) => catalog,
            Served::Map(map) => &mut **map,
            Served::Service(_, service) => &mut **service,
        }
    }
}

impl Application for Served {
    fn apply(&mut self, request: Applying) -> Bytes {
        self.application_mut().apply(request)
    }

    fn snapshot(&self) -> Parts {
        self.application().snapshot()
    }

    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored> {
        self.application_mut().restore(at, part)
    }

    fn digest(&self) -> u64 {
        self.application().digest()
    }
}

//! What a site serves of its durable groups: their applications.

use bytes::Bytes;
use durable::{Application, Applying, Locator, NotRestored, Parts};
use tools::catalog::{Catalog, Kind};
use tools::map::Map;

/// One group's state at this site.
pub(crate) enum Served {
    Catalog(Catalog),
    Map(Box<Map>),
}

impl Served {
    /// The new state of a group of this kind.
    pub(super) fn new(kind: Kind) -> Served {
        match kind {
            Kind::Map => Served::Map(Box::default()),
        }
    }

    /// The same kind, and new.
    pub(super) fn renewed(&self) -> Served {
        match self {
            Served::Catalog(_) => Served::Catalog(Catalog::default()),
            Served::Map(_) => Served::Map(Box::default()),
        }
    }

    fn application(&self) -> &dyn Application {
        match self {
            Served::Catalog(catalog) => catalog,
            Served::Map(map) => &**map,
        }
    }

    fn application_mut(&mut self) -> &mut dyn Application {
        match self {
            Served::Catalog(catalog) => catalog,
            Served::Map(map) => &mut **map,
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

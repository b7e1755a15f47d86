//! The properties, one file each, in the words of CKV: G. Chockler, I. Keidar, R. Vitenberg, *Group
//! communication specifications: a comprehensive study*, ACM Computing Surveys 33(4), 2001.
//!
//! A property is a function of a [`History`]. Each file gives its definition and holds histories that keep it
//! and histories that break it: a check that cannot fail checks nothing.

use std::fmt;

use wire::Time;

use crate::history::History;

mod accuracy;
mod acknowledged;
mod agreement_on_successors;
mod causal;
mod delivery_integrity;
pub mod durable;
mod fifo;
mod global_order;
mod initial_view_event;
pub mod linearizable;
mod local_monotonicity;
pub(crate) mod mail;
mod membership_precision;
mod multicast_liveness;
mod no_duplication;
mod order;
mod primary_component;
mod safe_indication_liveness;
mod safe_indication_prefix;
mod same_view_delivery;
mod self_delivery;
mod self_inclusion;
mod sending_view_delivery;
mod strong_total_order;
mod transitional_set;
mod view_agreement;
mod virtual_synchrony;
mod weak_total_order;

#[cfg(test)]
mod script;

/// A history that breaks a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// When it was seen, if at one moment.
    pub at: Option<Time>,
    /// How it was broken.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.how)?;
        match self.at {
            Some(at) => write!(f, " (at {at:?})"),
            None => Ok(()),
        }
    }
}

/// A property: its name and its check, which returns how the history breaks it.
pub struct Property {
    /// The name in the literature.
    pub name: &'static str,
    check: fn(&History) -> Result<(), Breach>,
}

impl Property {
    /// Checks a history.
    pub fn check(&self, history: &History) -> Result<(), Violation> {
        (self.check)(history).map_err(|breach| Violation {
            property: self.name,
            at: breach.at.and_then(|at| history.observations.get(at)).map(|o| o.at),
            how: breach.how,
        })
    }
}

/// How a property is broken, and at which observation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Breach {
    at: Option<usize>,
    how: String,
}

impl Breach {
    fn at(at: usize, how: String) -> Breach {
        Breach { at: Some(at), how }
    }

    fn whole(how: String) -> Breach {
        Breach { at: None, how }
    }
}

/// What must hold at every moment, whatever strikes.
pub const SAFETY: &[Property] = &[
    Property { name: "Self Inclusion", check: self_inclusion::check },
    Property { name: "Local Monotonicity", check: local_monotonicity::check },
    Property { name: "Initial View Event", check: initial_view_event::check },
    Property { name: "View Agreement", check: view_agreement::check },
    Property { name: "Primary Component", check: primary_component::check },
    Property { name: "Delivery Integrity", check: delivery_integrity::check },
    Property { name: "No Duplication", check: no_duplication::check },
    Property { name: "Sending View Delivery", check: sending_view_delivery::check },
    Property { name: "Same View Delivery", check: same_view_delivery::check },
    Property { name: "Virtual Synchrony", check: virtual_synchrony::check },
    Property { name: "Transitional Set", check: transitional_set::check },
    Property { name: "Agreement on Successors", check: agreement_on_successors::check },
    Property { name: "FIFO", check: fifo::check },
    Property { name: "Causal", check: causal::check },
    Property { name: "Weak Total Order", check: weak_total_order::check },
    Property { name: "Strong Total Order", check: strong_total_order::check },
    Property { name: "Global Order", check: global_order::check },
    Property { name: "Safe Indication Prefix", check: safe_indication_prefix::check },
    Property { name: "Acknowledged", check: acknowledged::check },
    Property { name: "Accuracy", check: accuracy::check },
];

/// What must hold when the network has healed and time has passed.
pub const LIVENESS: &[Property] = &[
    Property { name: "Membership Precision", check: membership_precision::check },
    Property { name: "Multicast Liveness", check: multicast_liveness::check },
    Property { name: "Self Delivery", check: self_delivery::check },
    Property { name: "Safe Indication Liveness", check: safe_indication_liveness::check },
];

/// Every property that a history breaks; liveness is asked only of a run that healed.
pub fn check(history: &History) -> Vec<Violation> {
    let liveness = if history.healed { LIVENESS } else { &[] };
    SAFETY.iter().chain(liveness).filter_map(|property| property.check(history).err()).collect()
}

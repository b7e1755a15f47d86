//! How far the messages of a group have come: what causality across groups waits for.

use wire::ViewId;

use crate::endpoint::Endpoint;
use crate::traffic::Traffic;

/// Everything that was cast or delivered at a site up to a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    view: ViewId,
    /// By place: what was delivered in the view.
    delivered: Vec<u64>,
    /// How much of the order list was known: at a site that knows less, an abcast holds back what is behind it.
    order: u64,
    /// The last number cast here.
    number: u64,
    /// Of what was cast here something was not delivered here yet: what stands before it, which others need too, was
    /// still to come. When it is delivered, that is known.
    open: bool,
}

impl Endpoint {
    /// What was cast or delivered here until now; none before the first view.
    pub fn extent(&self) -> Option<Extent> {
        let traffic = self.traffic.as_ref()?;
        let (delivered, order) = (traffic.heads(), traffic.order.len());
        let own = &traffic.inboxes[traffic.me];
        let open = own.head() < own.received() || self.outbox.messages() > 0;
        Some(Extent { view: traffic.id(), delivered, order, number: self.number, open })
    }

    /// Whether all of it is known to be delivered at the site of every member of the installed view that could lack
    /// it. Until all have installed the view it never is: those who move along may still fetch what they miss (M6), and
    /// who comes from an older view delivers that. Within a view, what is stable with its order is delivered; but not
    /// if a safe message stands before it, so where there is one the sites tell what they have delivered.
    pub fn is_everywhere(&self, extent: &mut Extent) -> bool {
        // After the end it is for a `Parting` to say.
        let Some(traffic) = self.traffic.as_ref() else { return !self.ended };
        if self.change.is_some() || !self.all_have_installed() || self.told_stable < extent.number {
            return false;
        }
        if extent.open && extent.view == traffic.id() {
            // What was cast here is stable, so it is delivered.
            *extent = Extent {
                delivered: traffic.heads(),
                order: traffic.order.len(),
                open: false,
                ..extent.clone()
            };
        }
        let everybody = |traffic: &Traffic| {
            let stable = traffic.stability.stable();
            extent.order <= traffic.stability.order_stable()
                && extent.delivered.iter().zip(stable).all(|(delivered, stable)| delivered <= stable)
                && (!traffic.has_safe || others_have_delivered(traffic, &extent.delivered))
        };
        traffic.id() != extent.view || traffic.others.is_empty() || everybody(traffic)
    }
}

fn others_have_delivered(traffic: &Traffic, heads: &[u64]) -> bool {
    (0..traffic.sites.len())
        .filter(|site| *site != traffic.me)
        .all(|site| traffic.stability.has_delivered(site, heads))
}

#[cfg(test)]
#[path = "extent_test.rs"]
mod tests;

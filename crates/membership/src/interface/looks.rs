//! The groups that an attached site looks at without having members in them: somebody there casts to them from
//! outside, or watches them.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::GroupName;

use super::message::{Look, Seen};
use crate::group::GroupView;

/// Groups that an attached site may look at.
pub const LOOKS_MAX: usize = 256;

/// What an attached site knows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing yet: the mserver is asked.
    Unknown,
    /// There is no such group.
    Missing,
    /// Its newest view.
    View(Arc<GroupView>),
}

/// What an attached site looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    names: BTreeMap<GroupName, At>,
    uses: u64,
}

#[derive(Clone, Debug)]
struct At {
    looked: Looked,
    used: u64,
}

impl Looks {
    pub(super) fn look(&mut self, name: &GroupName) -> Looked {
        self.uses += 1;
        let used = self.uses;
        let at = self.names.entry(name.clone()).or_insert(At { looked: Looked::Unknown, used });
        at.used = used;
        let looked = at.looked.clone();
        if self.names.len() > LOOKS_MAX
            && let Some(oldest) =
                self.names.iter().min_by_key(|(_, at)| at.used).map(|(name, _)| name.clone())
        {
            self.names.remove(&oldest);
        }
        looked
    }

    /// Takes what the mserver says; gives the names of which something new is known.
    pub(super) fn handle_seen(&mut self, seen: Seen) -> Vec<GroupName> {
        let views = seen.views.into_iter().map(|view| {
            let gone = view.members.is_empty();
            (view.name.clone(), if gone { Looked::Missing } else { Looked::View(Arc::new(view)) })
        });
        let missing = seen.missing.into_iter().map(|name| (name, Looked::Missing));
        let mut news = Vec::new();
        for (name, looked) in views.chain(missing) {
            let Some(at) = self.names.get_mut(&name) else { continue };
            // What was overtaken says nothing new; a group that came again is another, above the first.
            let older = match (&looked, &at.looked) {
                (Looked::View(new), Looked::View(known)) => new.id < known.id,
                (_, _) => false,
            };
            if !older && at.looked != looked {
                at.looked = looked;
                news.push(name);
            }
        }
        news
    }

    /// What to ask the mserver; none if there is nothing to look at.
    pub(super) fn say(&self) -> Option<Look> {
        let seen = |at: &At| match &at.looked {
            Looked::View(view) => Some(view.id),
            Looked::Unknown | Looked::Missing => None,
        };
        let groups: Vec<_> = self.names.iter().map(|(name, at)| (name.clone(), seen(at))).collect();
        (!groups.is_empty()).then_some(Look { groups })
    }

    pub(super) fn views(&self) -> impl Iterator<Item = &Arc<GroupView>> {
        self.names.values().filter_map(|at| match &at.looked {
            Looked::View(view) => Some(view),
            Looked::Unknown | Looked::Missing => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> GroupName {
        GroupName::parse(&format!("g{n}")).expect("a name")
    }

    #[test]
    fn names_are_asked_for_until_they_are_known_and_the_oldest_is_forgotten_at_the_bound() {
        let mut looks = Looks::default();
        assert_eq!(looks.say(), None);
        assert_eq!(looks.look(&name(0)), Looked::Unknown);
        let missing = |n| Seen { views: Vec::new(), missing: vec![name(n)] };
        assert_eq!(looks.handle_seen(missing(0)), [name(0)]);
        assert!(looks.handle_seen(missing(0)).is_empty(), "nothing new");
        assert!(looks.handle_seen(missing(1)).is_empty(), "nobody asked");
        assert_eq!(looks.look(&name(0)), Looked::Missing);
        for n in 1..=LOOKS_MAX {
            looks.look(&name(n));
        }
        assert_eq!(looks.say().map(|look| look.groups.len()), Some(LOOKS_MAX));
        assert_eq!(looks.look(&name(0)), Looked::Unknown, "it was forgotten");
    }
}

//! View Agreement: two views of one group with one id are one view. [CKV 3] has it in the definition of a view,
//! which is a triple of id, members and transitional set; here it is checked, since two sides of a partition
//! must never make different views under one id (schedules 2, 3 and 15).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    let mut known = BTreeMap::new();
    for (member, _, stay) in history.stays() {
        let first = known.entry((stay.view.group, stay.view.id)).or_insert(&stay.view);
        if !Arc::ptr_eq(first, &stay.view) && *first != &stay.view {
            let how = format!(
                "{} has another view {} than others: {:?} and {first:?}",
                member.id, stay.view.id, stay.view
            );
            return Err(Breach::at(stay.at, how));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;

    #[test]
    fn one_id_means_one_view() {
        Script::new().view(1, &[1, 2]).view(2, &[1]).view(3, &[2]).kept(check);
        Script::new().view(1, &[1, 2]).view(2, &[1]).view(2, &[2]).broken(check);
    }
}

//! Self Inclusion [CKV 3.1]: if a process installs a view, it is a member of that view.

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for (member, _, stay) in history.stays() {
        if !stay.lists(member.id) {
            return Err(Breach::at(stay.at, format!("{} installed {} without it", member.id, stay.view.id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;

    #[test]
    fn a_view_lists_who_installs_it() {
        Script::new().view(1, &[1, 2]).kept(check);
        Script::new().installs(3, 1, &[1, 2], &[]).broken(check);
    }
}

//! Local Monotonicity [CKV 3.2]: the ids of the views that a process installs only rise.

use super::Breach;
use crate::history::History;

pub(super) fn check(history: &History) -> Result<(), Breach> {
    for member in history.members.values() {
        for pair in member.stays.windows(2) {
            let (before, after) = (pair[0].view.id, pair[1].view.id);
            if after <= before {
                let how = format!("{} installed {after} after {before}", member.id);
                return Err(Breach::at(pair[1].at, how));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::check;

    #[test]
    fn views_rise_at_every_member() {
        Script::new().view(1, &[1, 2]).view(3, &[1]).view(2, &[2]).kept(check);
        Script::new().view(2, &[1]).view(1, &[1]).broken(check);
        Script::new().view(2, &[1]).view(2, &[1]).broken(check);
    }
}

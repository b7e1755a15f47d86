//! Identities as the session protocol writes them, back into identities.

use wire::{Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId};

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; one looks like {example}")]
pub struct IdError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A member, as it displays itself: `s1.4/3#1`.
pub(crate) fn member(text: &str) -> Result<MemberId, IdError> {
    read_member(text).ok_or_else(|| IdError { text: text.to_owned(), what: "member", example: "s1.4/3#1" })
}

/// A view, as it displays itself: `7-0-s1.4`.
pub(crate) fn view(text: &str) -> Result<ViewId, IdError> {
    read_view(text).ok_or_else(|| IdError { text: text.to_owned(), what: "view", example: "7-0-s1.4" })
}

fn read_member(text: &str) -> Option<MemberId> {
    let (process, join) = text.split_once('#')?;
    let (birth, local) = process.split_once('/')?;
    let process = ProcessId { birth: read_life(birth)?, local: number(local)? };
    Some(MemberId { process, join: number(join)? })
}

fn read_view(text: &str) -> Option<ViewId> {
    let (epoch, rest) = text.split_once('-')?;
    let (attempt, coordinator) = rest.split_once('-')?;
    let attempt = u32::try_from(number(attempt)?).ok()?;
    Some(ViewId { epoch: number(epoch)?, attempt, coordinator: read_life(coordinator)? })
}

fn read_life(text: &str) -> Option<SiteIncarnation> {
    let (site, incarnation) = text.strip_prefix('s')?.split_once('.')?;
    let site = SiteId(u32::try_from(number(site)?).ok()?);
    Some(SiteIncarnation { site, incarnation: Incarnation(number(incarnation)?) })
}

/// Digits only: `parse` alone would take a sign, too.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> SiteIncarnation {
        SiteIncarnation { site: SiteId(2), incarnation: Incarnation(14) }
    }

    #[test]
    fn what_an_identity_displays_reads_back() {
        let id = MemberId { process: ProcessId { birth: life(), local: 7 }, join: 3 };
        assert_eq!(member(&id.to_string()), Ok(id));
        let id = ViewId { epoch: 9, attempt: 1, coordinator: life() };
        assert_eq!(view(&id.to_string()), Ok(id));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "s1.4/3", "1.4/3#1", "s1.4/3#", "s1.4/+3#1", "s1/3#1", "s99999999999.1/3#1", "s1.4/3#1 "]
        {
            assert!(member(text).is_err(), "{text:?}");
        }
        for text in ["", "7", "7-0", "7-0-1.4", "7-0-s1", "7--s1.4", "7-99999999999-s1.4"] {
            assert!(view(text).is_err(), "{text:?}");
        }
    }
}

//! Mailing lists. An entry carries a list whole, so whoever changes a part looks at the list first: one at a time at a site; of
//! two changes of a list at two sites in the same moment the later one in the log stays.

use std::collections::BTreeSet;

use mail::command::{Posting, SetList};
use mail::limits::{LIST_MEMBERS_MAX, LIST_OWNERS_MAX};
use mail::{Address, Command, List, State, UserId};
use serde_json::json;
use site::Answered;
use wire::session::{self, ErrorCode, Failure, ListLine, PageOf};

use super::page::{after, page};
use super::{Asked, bad, failure, told, user_named};

impl Asked {
    pub(super) async fn create_list(
        &self,
        name: &str,
        members: &[String],
        owners: &[String],
        posting: session::Posting,
    ) -> Answered {
        let (address, members) = (self.address("list", name)?, self.addresses("member", members)?);
        let _turn = self.changing.lock().await;
        let state = self.listed(false).await?;
        if state.list(&address).is_some() {
            let why = format!(
                "there is a mailing list {address} already; see `unanimous mail mailing-list --help`"
            );
            return Err(failure(ErrorCode::Exists, why));
        }
        let owners = users(&state, owners)?;
        let list = SetList { address, members, owners, posting: of_session(posting) };
        self.set_list(list).await
    }

    pub(super) async fn change_list(
        &self,
        name: &str,
        owners: Option<Vec<String>>,
        posting: Option<session::Posting>,
    ) -> Answered {
        let address = self.address("list", name)?;
        let _turn = self.changing.lock().await;
        let state = self.listed(false).await?;
        let mut list = self::list(&state, &address)?;
        if let Some(owners) = owners {
            list.owners = users(&state, &owners)?;
        }
        list.posting = posting.map_or(list.posting, of_session);
        self.set_list(list).await
    }

    pub(super) async fn add_members(&self, name: &str, members: &[String]) -> Answered {
        self.change_members(name, members, |all, member| all.insert(member)).await
    }

    pub(super) async fn remove_members(&self, name: &str, members: &[String]) -> Answered {
        self.change_members(name, members, |all, member| all.remove(&member)).await
    }

    /// `change` says whether it has changed anything.
    async fn change_members(
        &self,
        name: &str,
        members: &[String],
        change: impl Fn(&mut BTreeSet<Address>, Address) -> bool,
    ) -> Answered {
        let (address, members) = (self.address("list", name)?, self.addresses("member", members)?);
        let _turn = self.changing.lock().await;
        let state = self.listed(false).await?;
        let mut list = self::list(&state, &address)?;
        let mut all: BTreeSet<Address> = list.members.drain(..).collect();
        let changed = members.into_iter().map(|member| change(&mut all, member)).filter(|changed| *changed);
        let changed = changed.count();
        list.members = all.into_iter().collect();
        let (mut told, body) = match changed {
            0 => list_told(&list)?,
            _ => self.set_list(list).await?,
        };
        told.insert("changed".to_owned(), changed.into());
        Ok((told, body))
    }

    async fn set_list(&self, list: SetList) -> Answered {
        for (what, count, most) in [
            ("members", list.members.len(), LIST_MEMBERS_MAX),
            ("owners", list.owners.len(), LIST_OWNERS_MAX),
        ] {
            if count > most {
                let why = format!(
                    "a mailing list has at most {most} {what}, not {count}; put a list into the list"
                );
                return Err(failure(ErrorCode::TooLarge, why));
            }
        }
        let told = list_told(&list)?;
        self.change(Command::SetList(list)).await?;
        Ok(told)
    }

    pub(super) async fn remove_list(&self, name: &str) -> Answered {
        let address = self.address("list", name)?;
        let state = self.listed(false).await?;
        let list = self::list(&state, &address)?;
        self.change(Command::RemoveList(address)).await?;
        list_told(&list)
    }

    pub(super) async fn members(&self, name: &str, asked: PageOf) -> Answered {
        let address = self.address("list", name)?;
        let state = self.listed(asked.local).await?;
        let list = self::list(&state, &address)?;
        let after = after(&asked, Address::parse)?;
        let members = list.members.iter().filter(|member| after.as_ref().is_none_or(|after| *member > after));
        page(&asked, members.map(|member| (member.to_string(), member.as_str())))
    }

    pub(super) async fn lists(&self, asked: PageOf) -> Answered {
        let state = self.listed(asked.local).await?;
        let after = after(&asked, Address::parse)?;
        let item = |(address, list): (&Address, &List)| {
            let owners = list.owners.iter().filter_map(|owner| state.user(*owner));
            let line = ListLine {
                list: address.to_string(),
                members: list.members.len(),
                owners: owners.map(|owner| owner.name().to_string()).collect(),
                posting: to_session(list.posting),
            };
            (address.to_string(), line)
        };
        page(&asked, state.lists_behind(after.as_ref()).map(item))
    }
}

fn list(state: &State, address: &Address) -> Result<SetList, Failure> {
    let List { members, owners, posting } = state
        .list(address)
        .ok_or_else(|| {
            bad(format!("there is no mailing list {address}; see `unanimous mail mailing-list list`"))
        })?
        .clone();
    Ok(SetList { address: address.clone(), members, owners, posting })
}

fn users(state: &State, names: &[String]) -> Result<Vec<UserId>, Failure> {
    names.iter().map(|name| user_named(state, name)).collect()
}

fn list_told(list: &SetList) -> Answered {
    let members: BTreeSet<&Address> = list.members.iter().collect();
    told(json!({"list": list.address.as_str(), "members": members.len(), "owners": list.owners.len()}))
}

fn of_session(posting: session::Posting) -> Posting {
    match posting {
        session::Posting::Anyone => Posting::Anyone,
        session::Posting::Users => Posting::Users,
        session::Posting::Members => Posting::Members,
        session::Posting::Owners => Posting::Owners,
    }
}

fn to_session(posting: Posting) -> session::Posting {
    match posting {
        Posting::Anyone => session::Posting::Anyone,
        Posting::Users => session::Posting::Users,
        Posting::Members => session::Posting::Members,
        Posting::Owners => session::Posting::Owners,
    }
}

//! Users, their rights and room, who is logged in; roles, and how much mail there is.

use mail::command::{AddUser, Quota, SetPassword, SetPrivileged, SetQuota};
use mail::{Command, EntryTime, Roles, User, UserName};
use serde_json::json;
use site::Answered;
use stack::Change;
use wire::session::{ErrorCode, LoginLine, PageOf, UserLine};

use super::page::{after, page};
use super::{Asked, bad, failure, refused, told, user_named};
use crate::service::{MailError, group, now as clock};

impl Asked {
    pub(super) async fn add_user(
        &self,
        name: String,
        password: Option<String>,
        privileged: bool,
    ) -> Answered {
        let parsed = UserName::parse(&name).map_err(|error| bad(format!("user: {error}")))?;
        if self.mail.reach().await.map_err(refused)?.domains().next().is_none() {
            // Mail is being founded: no letter would reach the user yet.
            return Err(refused(MailError::NotReady));
        }
        let password = self.hashed(password).await?;
        let quota = Quota::default();
        let add = Command::AddUser(AddUser { name: parsed.clone(), password, privileged, quota });
        self.change(add).await?;
        told(json!({"user": parsed.as_str(), "address": format!("{parsed}@{}", self.domain)}))
    }

    pub(super) async fn delete_user(&self, name: &str) -> Answered {
        let state = self.mail.reach().await.map_err(refused)?;
        let user = user_named(&state, name)?;
        self.change(Command::DeleteUser(user)).await?;
        told(json!({"user": name}))
    }

    pub(super) async fn set_password(&self, name: &str, password: String) -> Answered {
        let state = self.mail.reach().await.map_err(refused)?;
        let user = user_named(&state, name)?;
        let password = self.hashed(Some(password)).await?;
        let set = Command::SetPassword(SetPassword { user, password });
        self.change(set).await?;
        told(json!({"user": name}))
    }

    pub(super) async fn users(&self, asked: PageOf) -> Answered {
        let state = self.listed(asked.local).await?;
        let (after, now) = (after(&asked, UserName::parse)?, clock());
        let item = |user: &User| (user.name().to_string(), self.user(user, now));
        page(&asked, state.users_behind(after.as_ref()).map(item))
    }

    fn user(&self, user: &User, now: EntryTime) -> UserLine {
        let (quota, usage) = (user.quota(), user.usage());
        UserLine {
            user: user.name().to_string(),
            address: format!("{}@{}", user.name(), self.domain),
            privileged: user.is_privileged(),
            letters: usage.letters,
            bytes: usage.bytes,
            letters_max: quota.letters_max,
            bytes_max: quota.bytes_max,
            password: user.password().is_some(),
            app_passwords: user.app_passwords().len(),
            last_login_ms: self.online.last(user.id(), now).map(|at| at.0),
        }
    }

    pub(super) async fn set_quota(&self, name: &str, bytes: Option<u64>, letters: Option<u32>) -> Answered {
        let state = self.listed(false).await?;
        let user = user_named(&state, name)?;
        let quota = Quota { bytes_max: bytes, letters_max: letters };
        self.change(Command::SetQuota(SetQuota { user, quota })).await?;
        let usage = state.user(user).map(User::usage).unwrap_or_default();
        told(json!({
            "user": name, "bytes_max": bytes, "letters_max": letters, "bytes": usage.bytes, "letters": usage.letters,
        }))
    }

    pub(super) async fn set_privileged(&self, name: &str, privileged: bool) -> Answered {
        let state = self.listed(false).await?;
        let user = user_named(&state, name)?;
        self.change(Command::SetPrivileged(SetPrivileged { user, privileged })).await?;
        told(json!({"user": name, "privileged": privileged}))
    }

    /// Who is logged in at this site, in the order in which they logged in.
    pub(super) fn who(&self, asked: PageOf) -> Answered {
        let state = self.mail.view().map_err(refused)?;
        let after = asked.after.as_deref().map_or(Ok(0), str::parse::<u64>);
        let after = after.map_err(|_| bad("after: a number, which the last answer said"))?;
        let logins = self.online.behind(after).into_iter().filter_map(|(number, login)| {
            let user = state.user(login.user)?;
            let line = LoginLine {
                user: user.name().to_string(),
                protocol: login.protocol.to_owned(),
                tls: login.tls,
                from: login.from,
                since_ms: login.since.0,
            };
            Some((number.to_string(), line))
        });
        page(&asked, logins)
    }

    async fn hashed(&self, password: Option<String>) -> Result<Option<Box<str>>, wire::session::Failure> {
        match password {
            Some(password) => {
                let hash = self.passwords.hash(password).await;
                hash.map(|hash| Some(hash.into())).map_err(|error| bad(error.to_string()))
            }
            None => Ok(None),
        }
    }

    /// Lets a site's member be rank 0: seed 000's Master.
    // [Yampell 86, 5]
    pub(super) async fn change_master(&self, wanted: &str) -> Answered {
        let site = self.mail.site();
        let stopping = |error: site::RequestError| failure(error.code(), error.to_string());
        let sites = site.sites().await.map_err(stopping)?;
        let found = sites.iter().find(|site| site.name == wanted || site.site.to_string() == wanted);
        let found = found.ok_or_else(|| bad(format!("there is no site {wanted}; see `unanimous status`")))?;
        let view = site.view(group()).await.map_err(stopping)?;
        let members = view.members.iter().map(|member| member.id);
        // A member's process was born at its site.
        let member = members.into_iter().find(|member| member.process.site() == found.site);
        let member = member.ok_or_else(|| bad(format!("{wanted} does not serve mail at the moment")))?;
        if view.members.first().is_none_or(|first| first.id != member) {
            site.change(Change::Reorder { group: group(), member }).await.map_err(stopping)?;
        }
        told(json!({"master": found.name}))
    }

    pub(super) async fn storage(&self) -> Answered {
        let state = self.mail.view().map_err(refused)?;
        let storage = state.storage();
        let site = self.mail.site();
        let stopping = |error: site::RequestError| failure(error.code(), error.to_string());
        let sites = site.sites().await.map_err(stopping)?;
        let name = |of: wire::SiteId| {
            let known = sites.iter().find(|site| site.site == of).map(|site| site.name.clone());
            known.unwrap_or_else(|| of.to_string())
        };
        let view = site.view(group()).await;
        let members: Vec<_> = match &view {
            Ok(view) => view.members.iter().map(|member| member.id.process.site()).collect(),
            Err(error) if error.code() == ErrorCode::NoSuchGroup => Vec::new(),
            Err(error) => return Err(failure(error.code(), error.to_string())),
        };
        let groups = site.durable_groups().await.map_err(|error| failure(error.code(), error.to_string()))?;
        let here = groups.iter().find(|of| of.group == group());
        let roles = Roles::of(&members);
        let weight = site.weigh(group()).await.map_err(|error| refused(error.into()))?;
        told(json!({
            "domain": self.domain.as_str(),
            "users": state.users().count(),
            "letters": storage.live_letters,
            "bytes": storage.live_bytes,
            "disk_bytes": weight.all(),
            "disk_dead_bytes": weight.all().saturating_sub(storage.live_bytes),
            "freed_letters": storage.freed_letters,
            "freed_bytes": storage.freed_bytes,
            "index_bytes": state.index_bytes(),
            "requests_remembered": state.requests_remembered(),
            "position": state.position().0,
            "held_letters": self.mail.waits().letters,
            "held_changes": self.mail.waits().changes,
            "held_bytes": self.mail.waits().bytes,
            "letters_missing_here": here.map_or(0, |of| of.missing),
            "master": roles.as_ref().map(|roles| name(roles.master)),
            "lieutenant": roles.as_ref().and_then(|roles| roles.lieutenant).map(name),
            "caretaker": roles.as_ref().map(|roles| name(roles.caretaker)),
        }))
    }
}

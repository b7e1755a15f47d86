//! Mailboxes by name: LIST, STATUS, CREATE and the like, and quotas.

use mail::State;
use mail::command::{CreateMailbox, NamedMailbox, RenameMailbox};

use super::command::{Command, Name, StatusItem};
use super::listing::{self, ListCommand};
use super::run::Task;
use super::session::Session;
use super::write;

impl Session {
    pub(super) fn list(&mut self, tag: &str, list: &ListCommand, state: &State) {
        let Some(user) = self.user else { return self.no(tag, "Log in first") };
        self.condstore |= list.tell_status.contains(&StatusItem::HighestModSeq);
        listing::answer(list, state, user).iter().for_each(|line| self.line(line));
        self.ok(tag, "That is all");
    }

    pub(super) fn status(&mut self, tag: &str, name: Name, items: &[StatusItem], state: &State) {
        let found = self.mailbox_of(name, state);
        match found.map(|id| state.mailbox(id)) {
            Ok(Some(mailbox)) => self.line(&listing::status(mailbox, items)),
            Ok(None) => return self.no(tag, "[NONEXISTENT] There is no such mailbox"),
            Err(why) => return self.no(tag, why),
        }
        self.sync(state, true);
        self.ok(tag, "Done");
    }

    pub(super) fn change_folders(&mut self, tag: String, command: Command, state: &State) {
        let Some(user) = self.user else { return self.no(&tag, "Log in first") };
        let bad = |session: &mut Session| session.no(&tag, "[CANNOT] There can be no mailbox of this name");
        let command = match command {
            Command::Create { name: Ok(name), special_use } => {
                mail::Command::CreateMailbox(CreateMailbox { user, name, special_use })
            }
            Command::Delete(Ok(name)) => mail::Command::DeleteMailbox(NamedMailbox { user, name }),
            Command::Rename { from: Ok(from), to: Ok(to) } => {
                mail::Command::RenameMailbox(RenameMailbox { user, from, to })
            }
            Command::Subscribe(Ok(name)) => mail::Command::Subscribe(NamedMailbox { user, name }),
            Command::Unsubscribe(Ok(name)) => mail::Command::Unsubscribe(NamedMailbox { user, name }),
            _ => return bad(self),
        };
        // One's own mailbox can be removed while it is selected; the session goes on without it.
        if let (mail::Command::DeleteMailbox(named), Some(view)) = (&command, &self.view)
            && state.mailbox_named(user, &named.name).map(|mailbox| mailbox.id()) == Some(view.mailbox)
        {
            self.view = None;
        }
        self.propose(tag, Task::Folders("Done"), command, None);
    }

    pub(super) fn quota_root(&mut self, tag: &str, name: Name, state: &State) {
        let found = self.mailbox_of(name, state);
        match found.map(|id| state.mailbox(id)) {
            Ok(Some(mailbox)) => {
                let name = write::mailbox(mailbox.name());
                self.line(&format!("* QUOTAROOT {name} \"\""));
                self.quota(tag, b"", state);
            }
            Ok(None) => self.no(tag, "[NONEXISTENT] There is no such mailbox"),
            Err(why) => self.no(tag, why),
        }
    }

    /// A user has one quota root, the empty name (RFC 2087).
    pub(super) fn quota(&mut self, tag: &str, root: &[u8], state: &State) {
        let user = self.user.and_then(|user| state.user(user));
        let Some(user) = user.filter(|_| root.is_empty()) else {
            return self.no(tag, "[NONEXISTENT] There is no such quota root");
        };
        let (quota, usage) = (user.quota(), user.usage());
        // Of 1,024 bytes each; what is begun counts whole.
        let storage =
            quota.bytes_max.map(|max| format!("STORAGE {} {}", usage.bytes.div_ceil(1_024), max / 1_024));
        let letters = quota.letters_max.map(|max| format!("MESSAGE {} {max}", usage.letters));
        let resources: Vec<String> = storage.into_iter().chain(letters).collect();
        self.line(&format!("* QUOTA \"\" ({})", resources.join(" ")));
        self.ok(tag, "Done");
    }
}

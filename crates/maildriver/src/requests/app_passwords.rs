//! Application passwords: generated, told once, and kept as keys of SCRAM.

use mail::command::{AddAppPassword, RemoveAppPassword};
use mail::limits::{APP_PASSWORDS_MAX, TEXT_BYTES_MAX};
use mail::{AppPassword, Command, User};
use serde_json::json;
use site::Answered;
use wire::session::ErrorCode;

use super::{Asked, bad, failure, told, user_named};
use crate::login;

/// Another site may make one in the same moment. Its salt is then taken, and nearly always once is enough.
const TRIES: u32 = 5;

impl Asked {
    /// Makes one, and tells it: nobody can read it again.
    pub(super) async fn add_app_password(&self, name: &str, label: Option<String>) -> Answered {
        if label.as_deref().is_some_and(|label| !is_label(label)) {
            let why = format!(
                "label: a text of 1 to {TEXT_BYTES_MAX} bytes without controls, which says what it is for"
            );
            return Err(bad(why));
        }
        let _turn = self.changing.lock().await;
        let state = self.listed(false).await?;
        let user = user_named(&state, name)?;
        let mut others = passwords(state.user(user));
        let label = label.unwrap_or_else(|| free(&others));
        let replaced = others.iter().any(|other| *other.label == *label);
        if others.len() >= APP_PASSWORDS_MAX && !replaced {
            let why = format!(
                "{name} has {APP_PASSWORDS_MAX} application passwords, and there may be no more; \
                 revoke one with `unanimous mail app-password revoke {name} LABEL`"
            );
            return Err(bad(why));
        }
        for _ in 0..TRIES {
            let made = self.passwords.generate(others).await;
            let (password, scram) = made.map_err(|error| failure(ErrorCode::Stopping, error.to_string()))?;
            let salt = scram.salt.clone();
            let add = AddAppPassword { user, label: label.as_str().into(), scram };
            self.change(Command::AddAppPassword(add)).await?;
            others = passwords(self.listed(false).await?.user(user));
            // SCRAM tells the client the salt of the first before it knows which is meant.
            if login::named(&others).is_some_and(|named| named.salt == salt) {
                return told(
                    json!({"user": name, "label": label, "password": password, "replaced": replaced}),
                );
            }
        }
        Err(failure(ErrorCode::Busy, "other sites change this user's application passwords; try again"))
    }

    pub(super) async fn remove_app_password(&self, name: &str, label: String) -> Answered {
        let state = self.listed(false).await?;
        let user = user_named(&state, name)?;
        if !passwords(state.user(user)).iter().any(|known| *known.label == *label) {
            let why = format!(
                "{name} has no application password {label:?}; see `unanimous mail app-password list {name}`"
            );
            return Err(bad(why));
        }
        let remove = RemoveAppPassword { user, label: label.as_str().into() };
        self.change(Command::RemoveAppPassword(remove)).await?;
        told(json!({"user": name, "label": label}))
    }

    pub(super) async fn app_passwords(&self, name: &str) -> Answered {
        let state = self.listed(false).await?;
        let user = user_named(&state, name)?;
        let labels: Vec<String> =
            passwords(state.user(user)).into_iter().map(|password| password.label.into()).collect();
        told(json!({"user": name, "labels": labels}))
    }
}

fn is_label(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The first label that is not in use.
fn free(passwords: &[AppPassword]) -> String {
    let mut labels = (1..).map(|number| format!("app-{number}"));
    let used = |label: &String| passwords.iter().any(|password| *password.label == **label);
    labels.find(|label| !used(label)).unwrap_or_default()
}

fn passwords(user: Option<&User>) -> Vec<AppPassword> {
    user.map_or_else(Vec::new, |user| user.app_passwords().to_vec())
}

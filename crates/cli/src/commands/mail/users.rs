//! `mail users`, `quota`, `rights` and `app-password`.

use serde_json::Value;
use unanimous::UserLine;
use unanimous::session::protocol::{MailOp, PageOf};

use super::addresses::name;
use super::{done, maybe, plain, printable, table, tell};
use crate::args::{AppPassword, Find, MailQuota, MailRights};
use crate::failure::Failure;
use crate::output::{Tone, say, say_json, utc_ms};

/// `unanimous mail users`.
pub async fn list(find: &Find, local: bool, json: bool) -> Result<(), Failure> {
    let head = ["USER", "RIGHTS", "LETTERS", "OF", "BYTES", "OF", "PASSWORDS", "LAST LOGIN HERE"];
    let op = |page: PageOf| MailOp::Users(PageOf { local, ..page });
    table(find, op, json, &head, row).await
}

fn row(user: &UserLine) -> Vec<(String, Tone)> {
    let passwords = match (user.password, user.app_passwords) {
        (false, 0) => "none".to_owned(),
        (true, 0) => "own".to_owned(),
        (true, apps) => format!("own, {apps} app"),
        (false, apps) => format!("{apps} app"),
    };
    vec![
        plain(&user.user),
        if user.privileged { plain("privileged") } else { ("user".to_owned(), Tone::Dim) },
        plain(user.letters),
        maybe(user.letters_max),
        plain(user.bytes),
        maybe(user.bytes_max),
        plain(passwords),
        maybe(user.last_login_ms.map(utc_ms)),
    ]
}

/// `unanimous mail quota`.
pub async fn quota(find: &Find, args: &MailQuota, json: bool) -> Result<(), Failure> {
    let MailQuota { user, bytes, letters, none: _ } = args.clone();
    let told = done(find, MailOp::SetQuota { user: user.clone(), bytes, letters }).await?;
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
    let bound =
        |of: Option<u64>, what: &str| of.map_or(format!("any number of {what}"), |of| format!("{of} {what}"));
    let means = format!(
        "{user} may store {} in {}, and has {} in {}",
        bound(bytes, "bytes"),
        bound(letters.map(u64::from), "letters"),
        number("bytes"),
        number("letters")
    );
    tell(&told, json, &means)
}

/// `unanimous mail rights`.
pub async fn rights(find: &Find, args: &MailRights, json: bool) -> Result<(), Failure> {
    let MailRights { user, privileged, not: _ } = args.clone();
    let told = done(find, MailOp::SetPrivileged { user: user.clone(), privileged }).await?;
    let may = if privileged { "may administer mail" } else { "is a user like others" };
    tell(&told, json, &format!("{user} {may}"))
}

/// `unanimous mail app-password …`.
pub async fn app_password(find: &Find, args: &AppPassword, json: bool) -> Result<(), Failure> {
    match args.clone() {
        AppPassword::Add { user, label } => {
            let told = done(find, MailOp::AddAppPassword { user: user.clone(), label }).await?;
            if json {
                return say_json(&told);
            }
            let password = told.get("password").and_then(Value::as_str);
            say(password.ok_or_else(|| Failure::refused("the answer has no password"))?)?;
            let label = name(&told, "label");
            let replaced = told.get("replaced") == Some(&Value::Bool(true));
            // For whoever reads it; the password alone is what a program reads.
            let besides = if replaced { "; the one that had this label is revoked" } else { "" };
            eprintln!("{user}'s password for {label}: it is not shown again{besides}");
            Ok(())
        }
        AppPassword::List { user } if json => say_json(&done(find, MailOp::AppPasswords { user }).await?),
        AppPassword::List { user } => {
            let told = done(find, MailOp::AppPasswords { user }).await?;
            let labels = told.get("labels").and_then(Value::as_array).into_iter().flatten();
            labels.filter_map(Value::as_str).try_for_each(|label| say(&printable(label)))
        }
        AppPassword::Revoke { user, label } => {
            let op = MailOp::RemoveAppPassword { user: user.clone(), label: label.clone() };
            tell(&done(find, op).await?, json, &format!("{user}'s password for {label} is revoked"))
        }
    }
}

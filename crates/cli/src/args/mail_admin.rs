//! `mail`: what administers it, and its flags.

use clap::{Args, Subcommand, ValueEnum};
use unanimous::Posting;

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  unanimous mail quota bob --bytes 2GiB --letters 100000
  unanimous mail quota bob --none

Each letter counts in every mailbox that it is in. What a user has stays, also if it is more; what comes then is refused.")]
pub struct MailQuota {
    /// Whose
    pub user: String,
    /// So many bytes of letters; KiB, MiB, GiB may follow the number
    #[arg(long, value_name = "N", value_parser = bytes)]
    pub bytes: Option<u64>,
    /// So many letters
    #[arg(long, value_name = "N")]
    pub letters: Option<u32>,
    /// No bound
    #[arg(long, conflicts_with_all = ["bytes", "letters"], required_unless_present_any = ["bytes", "letters"])]
    pub none: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  unanimous mail rights ann --privileged
  unanimous mail rights ann --not

Privileged users get mail for postmaster, unless an alias or a list of that name does.")]
pub struct MailRights {
    /// Whose
    pub user: String,
    /// It may administer mail
    #[arg(long, required_unless_present = "not")]
    pub privileged: bool,
    /// It may not
    #[arg(long, conflicts_with = "privileged")]
    pub not: bool,
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous mail app-password add bob --label phone
  unanimous mail app-password list bob
  unanimous mail app-password revoke bob phone

Such a password has 128 bits and is for one program: it can be revoked without changing the others, and it is the kind that \
SCRAM-SHA-256 can be used with. It is printed once and kept nowhere.")]
pub enum AppPassword {
    /// Make one and print it, this once
    Add {
        /// Whose
        user: String,
        /// What it is for; it takes the place of the one with this label [default: app-1, or the next that is free]
        #[arg(long)]
        label: Option<String>,
    },
    /// Print the labels
    List {
        /// Whose
        user: String,
    },
    /// Take one back
    Revoke {
        /// Whose
        user: String,
        /// Which
        label: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous mail alias set info ann bob
  unanimous mail alias set sales@example.net info
  unanimous mail alias list
  unanimous mail alias remove info

A name alone is of the cluster's own domain.")]
pub enum Alias {
    /// Let an address stand for others, instead of those that it stands for now
    Set {
        /// The address
        address: String,
        /// Where its mail goes: at most 1,000 addresses, or names of users
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Remove an alias
    Remove {
        /// The address
        address: String,
    },
    /// Print aliases
    List,
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous mail mailing-list create team --member ann --member bob --owner ann
  unanimous mail mailing-list add team carol dave
  unanimous mail mailing-list members team
  unanimous mail mailing-list set team --posting members --owner ann
  unanimous mail mailing-list list
  unanimous mail mailing-list remove team

A name alone is of the cluster's own domain. What a member's mailbox refuses is told to the first owner.")]
pub enum MailingList {
    /// Make a mailing list
    Create {
        /// Its address
        list: String,
        /// Who gets its mail; may be repeated
        #[arg(long = "member", value_name = "ADDRESS")]
        members: Vec<String>,
        /// A user who may change it; may be repeated
        #[arg(long = "owner", value_name = "USER")]
        owners: Vec<String>,
        /// Who may write to it
        #[arg(long, value_enum, value_name = "WHO", default_value = "users")]
        posting: MailPosting,
    },
    /// Change a mailing list's owners, or who may write to it
    Set {
        /// Its address
        list: String,
        /// A user who may change it, instead of those who may now; may be repeated
        #[arg(long = "owner", value_name = "USER")]
        owners: Vec<String>,
        /// Nobody but administrators may change it
        #[arg(long, conflicts_with = "owners")]
        no_owner: bool,
        /// Who may write to it
        #[arg(long, value_enum, value_name = "WHO", required_unless_present_any = ["owners", "no_owner"])]
        posting: Option<MailPosting>,
    },
    /// Add members
    Add {
        /// Its address
        list: String,
        /// Who is to get its mail
        #[arg(required = true, value_name = "ADDRESS")]
        members: Vec<String>,
    },
    /// Drop members
    Drop {
        /// Its address
        list: String,
        /// Who is to get no more of its mail
        #[arg(required = true, value_name = "ADDRESS")]
        members: Vec<String>,
    },
    /// Print a mailing list's members
    Members {
        /// Its address
        list: String,
    },
    /// Print mailing lists: how many members, who may write, owners
    List,
    /// Remove a mailing list
    Remove {
        /// Its address
        list: String,
    },
}

/// Who may write to a mailing list.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MailPosting {
    /// Everybody
    Anyone,
    /// Users of this cluster
    Users,
    /// Its members and its owners
    Members,
    /// Its owners
    Owners,
}

impl From<MailPosting> for Posting {
    fn from(posting: MailPosting) -> Posting {
        match posting {
            MailPosting::Anyone => Posting::Anyone,
            MailPosting::Users => Posting::Users,
            MailPosting::Members => Posting::Members,
            MailPosting::Owners => Posting::Owners,
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous mail domain add example.net
  unanimous mail domain add example.net --catch-all ann
  unanimous mail domain list
  unanimous mail domain remove example.net

Users have their names in every domain. Without a catch-all, mail for names that nobody has is refused.")]
pub enum MailDomain {
    /// Take mail for a domain; once more, to change its catch-all
    Add {
        /// The domain
        domain: String,
        /// Who gets mail for names that nobody has there; left out: nobody
        #[arg(long, value_name = "ADDRESS")]
        catch_all: Option<String>,
    },
    /// Take no more mail for a domain
    Remove {
        /// The domain
        domain: String,
    },
    /// Print domains
    List,
}

/// A number of bytes: `4096`, `10MiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        unit => return Err(format!("{unit:?} is no unit; KiB, MiB, GiB or TiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    number.checked_mul(1 << unit).ok_or_else(|| "that is more than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!((bytes("4096"), bytes("10MiB"), bytes("1TiB")), (Ok(4_096), Ok(10 << 20), Ok(1 << 40)));
        for wrong in ["", "MiB", "1.5GiB", "10MB", "-1", "99999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}

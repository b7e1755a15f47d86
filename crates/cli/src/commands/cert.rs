//! `cert`: certificates of programs (`issue`) and of sites (`renew`, `revoke`), and the authority they are of (`root`).

pub mod keeper;
mod place;
pub mod renew;
pub mod revoke;
pub mod root;

use keeper::Keeper;
use net::cert::{Role, Validity};
use unanimous::Credentials;

use crate::args::{CertIssue, CertRole};
use crate::failure::Failure;
use crate::output::{say, say_json};

/// `unanimous cert issue`.
pub fn issue(args: &CertIssue, json: bool) -> Result<(), Failure> {
    let failed = |error: net::cert::CertError| Failure::refused(error.to_string());
    if args.out.exists() {
        return Err(Failure::refused(format!(
            "{} exists; name a folder that does not, so that no key is overwritten",
            args.out.display()
        )));
    }
    let keeper = Keeper::load(&args.authority)?;
    let role = match args.role {
        CertRole::Client => Role::Client,
        CertRole::Administrator => Role::Administrator,
    };
    let identity = keeper.authority().issue(role, &args.name, Validity::days(args.days)).map_err(failed)?;
    let files = Credentials::in_dir(&args.out);
    std::fs::create_dir_all(&args.out)?;
    identity.save(&files.certificate, &files.key).map_err(failed)?;
    std::fs::write(&files.authority, keeper.trusted_pem())?;
    if json {
        return say_json(&serde_json::json!({
            "principal": identity.principal().to_string(), "days": args.days, "cert": files.certificate,
            "key": files.key, "ca": files.authority,
        }));
    }
    say(&format!("{}: valid for {} days", identity.principal(), args.days))?;
    say(&format!("  unanimous --site tls:HOST:PORT --cert {} status", args.out.display()))
}

//! What `Authentication-Results` says (RFC 8601), behind the name of who says it.
//!
//! Whatever a stranger chose is written as a name, of letters that mean nothing in a header, or is told by a word of ours.

use std::fmt::Write;

use mail_auth::common::crypto::{Algorithm, CryptoError};
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::dmarc::Policy;
use mail_auth::{DkimOutput, DkimResult, DmarcResult, DnsError, Error, SpfResult};

use super::limits::NAME_BYTES_MAX;

/// What is said, one method behind the other.
#[derive(Debug, Default)]
pub(super) struct Results(String);

impl Results {
    /// SPF of `identity`: `smtp.helo` or `smtp.mailfrom`.
    pub fn spf(&mut self, result: SpfResult, identity: &str, domain: &str) {
        let word = match result {
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::Neutral => "neutral",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
            SpfResult::None => "none",
        };
        self.say(&format!("spf={word} {identity}={}", name(domain)));
    }

    /// A signature.
    pub fn dkim(&mut self, found: &DkimOutput<'_>) {
        let (word, why) = verdict(found);
        let mut said = format!("dkim={word}");
        if let Some(why) = why {
            let _ = write!(said, " ({why})");
        }
        if let Some(signature) = found.signature() {
            let _ = write!(said, " header.d={} header.s={}", name(&signature.d), name(&signature.s));
        }
        self.say(&said);
    }

    /// What is to be said of signatures besides.
    pub fn dkim_word(&mut self, word: &str) {
        self.say(&format!("dkim={word}"));
    }

    /// DMARC; with the policy that is meant for such a letter, if the author's domain has one.
    pub fn dmarc(&mut self, word: &str, author: Option<&str>, policy: Option<Policy>) {
        let mut said = format!("dmarc={word}");
        if let Some(author) = author {
            let _ = write!(said, " header.from={}", name(author));
        }
        if let Some(policy) = policy {
            let policy = match policy {
                Policy::Reject => "reject",
                Policy::Quarantine => "quarantine",
                Policy::None | Policy::Unspecified => "none",
            };
            let _ = write!(said, " policy.dmarc={policy}");
        }
        self.say(&said);
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.0
    }

    fn say(&mut self, result: &str) {
        if !self.0.is_empty() {
            self.0.push_str("; ");
        }
        self.0.push_str(result);
    }
}

/// DMARC's word.
pub(super) fn dmarc_word(result: &DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

/// Whether a signature is right, and says something: it has to cover the author (RFC 6376, 5.4), and SHA-1 says
/// nothing any more (RFC 8301).
pub(super) fn counts(found: &DkimOutput<'_>) -> bool {
    verdict(found).0 == "pass"
}

fn verdict(found: &DkimOutput<'_>) -> (&'static str, Option<&'static str>) {
    match found.result() {
        DkimResult::Pass => match found.signature() {
            Some(signature) if !covers_author(signature) => {
                ("permerror", Some("it does not cover the author"))
            }
            Some(signature) if signature.a == Algorithm::RsaSha1 => ("policy", Some("SHA-1")),
            _ => ("pass", None),
        },
        // The library is neutral about a signature that does not hold.
        DkimResult::Neutral(
            why @ Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired),
        ) => ("fail", reason(why)),
        DkimResult::Neutral(why @ Error::Dkim(DkimError::SignatureLength)) => ("policy", reason(why)),
        DkimResult::Neutral(why) => ("neutral", reason(why)),
        DkimResult::Fail(why) => ("fail", reason(why)),
        DkimResult::PermError(why) => ("permerror", reason(why)),
        DkimResult::TempError(why) => ("temperror", reason(why)),
        DkimResult::None => ("none", None),
    }
}

fn covers_author(signature: &Signature) -> bool {
    signature.h.iter().any(|field| field.eq_ignore_ascii_case("From"))
}

fn reason(why: &Error) -> Option<&'static str> {
    Some(match why {
        Error::Dkim(DkimError::FailedBodyHashMatch) => "the text is not the one that was signed",
        Error::Dkim(DkimError::SignatureExpired) => "expired",
        Error::Dkim(DkimError::SignatureLength) => "only a part is signed",
        Error::Dkim(DkimError::RevokedPublicKey) => "the key was revoked",
        Error::Dkim(DkimError::FailedAuidMatch) => "its user is of another domain",
        Error::Crypto(CryptoError::FailedVerification | CryptoError::Library(_)) => "the signature is wrong",
        Error::Dns(DnsError::RecordNotFound(_)) => "there is no key",
        Error::Dns(DnsError::InvalidRecordType) => "the key cannot be read",
        Error::Dns(DnsError::Resolver(_)) => "no name server answers",
        _ => return None,
    })
}

/// A name that somebody chose: letters, digits, `-`, `_` and `.`; whatever else is in it is a question mark, in quotes.
fn name(text: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = text.chars().take(NAME_BYTES_MAX).map(|c| if good(c) { c } else { '?' }).collect();
    if name.is_empty() || name.contains('?') { format!("\"{name}\"") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_no_more_than_names() {
        assert_eq!(name("mx_1.x-y.org"), "mx_1.x-y.org");
        assert_eq!(name("x.org; dmarc=pass"), "\"x.org??dmarc?pass\"");
        assert_eq!(name("x\r\nSubject: y\0(\"\\)\u{e9}"), "\"x??Subject??y??????\"");
        assert_eq!(name(""), "\"\"");
        assert_eq!(name(&"x".repeat(1_000)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_signature_that_is_right_has_to_say_something() {
        let signature =
            |h: &str, a| Signature { d: "x.org".into(), h: vec![h.into()], a, ..Signature::default() };
        let (right, author) =
            (signature("from", Algorithm::RsaSha256), signature("Subject", Algorithm::RsaSha256));
        let sha1 = signature("From", Algorithm::RsaSha1);
        let word = |signature| verdict(&DkimOutput::pass().with_signature(signature)).0;
        assert_eq!((word(&right), word(&author), word(&sha1)), ("pass", "permerror", "policy"));
    }
}

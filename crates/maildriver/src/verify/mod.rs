//! Who sent a letter: SPF, DKIM and DMARC of what comes from outside (RFC 7208, 6376, 9989).
//!
//! ```text
//!  client's address, HELO, MAIL FROM ─▶ SPF ──┐
//!  header and body as received ───────▶ DKIM ─┼─▶ DMARC ─▶ the results, and whether the letter is to be refused
//!  From ──────────────────────────────────────┘
//! ```
//!
//! What cannot be found out is `temperror` and no reason to refuse. Everything that a stranger may make large is bounded
//! ([`limits`]).

mod dns;
mod letter;
pub mod limits;
mod results;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use site::{MailConfig, Verification};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::edge::{Verified, Verify};
use dns::NameServers;
use letter::{Authors, Header};
use limits::{EVIDENCE_PERCENT, HASHED_AT_ONCE, VERIFIED_AT_ONCE, VERIFIED_WITHIN};
use results::{Results, counts, dmarc_word};

/// Verifies senders for a site. A clone is the same.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
    patience: Duration,
}

struct Shared {
    what: Verification,
    /// Letters from this machine are verified, too.
    own: bool,
    host: String,
    servers: NameServers,
    places: Semaphore,
    hashing: Arc<Semaphore>,
}

/// What SPF says of the two names that the envelope has.
struct Envelope {
    helo: SpfOutput,
    /// None for the null reverse path: then the other stands for it (RFC 7208, 2.4).
    sender: Option<SpfOutput>,
}

impl Verifier {
    /// A site's, which calls itself `host`. Nobody is asked before the first letter.
    ///
    /// A trial verifies nobody unless it is configured; then it verifies letters from the machine itself as well. Otherwise
    /// these are not looked at: no domain says anything about a machine's own programs.
    pub fn new(settings: &MailConfig, host: &str) -> Verifier {
        let usual = if settings.trial { Verification::Off } else { Verification::Record };
        let shared = Shared {
            what: settings.verify.unwrap_or(usual),
            own: settings.trial,
            host: host.to_owned(),
            servers: NameServers::new(settings.resolver.0.clone()),
            places: Semaphore::new(VERIFIED_AT_ONCE),
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)),
        };
        Verifier { shared: Arc::new(shared), patience: VERIFIED_WITHIN }
    }

    /// The same with another patience than [`VERIFIED_WITHIN`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Verifier {
        self.patience = patience;
        self
    }

    /// Finds out who sent a letter, within [`VERIFIED_WITHIN`]. None, if nobody tries: it is not configured, the letter is
    /// from this machine, or there are no name servers.
    ///
    /// It runs as a task of its own: if a letter makes it stumble, that ends, and not the connection. It ends with whoever
    /// waits for it.
    pub async fn verify(&self, asked: Verify) -> Option<Verified> {
        let Shared { what, own, servers, .. } = &*self.shared;
        let from = asked.address?.to_canonical();
        if *what == Verification::Off || from.is_loopback() && !own {
            return None;
        }
        let resolver = servers.ask()?;
        let (shared, patience) = (Arc::clone(&self.shared), self.patience);
        let mut task = JoinSet::new();
        task.spawn(async move { shared.judge(&resolver, from, &asked, patience).await });
        match task.join_next().await? {
            Ok(verified) => Some(verified),
            Err(error) => {
                tracing::error!(%error, "a letter could not be verified");
                None
            }
        }
    }
}

impl Shared {
    async fn judge(
        &self,
        resolver: &MessageAuthenticator,
        from: IpAddr,
        asked: &Verify,
        patience: Duration,
    ) -> Verified {
        let began = Instant::now();
        let (mut evidence_end, end) = (began + patience * EVIDENCE_PERCENT / 100, began + patience);
        // For whoever gets no place in time, all time is over.
        let place = within(evidence_end, self.places.acquire()).await;
        if place.is_none() {
            evidence_end = began;
        }
        let header = Header::of(asked);
        let mut parsed = header.parsed();
        let hashed = match &mut parsed {
            Some(parsed) => {
                within(evidence_end, letter::hash_body(parsed, letter::body(asked), &self.hashing))
                    .await
                    .flatten()
            }
            None => Some(()),
        };
        let signed = parsed.as_ref().filter(|_| hashed.is_some());
        let (envelope, signatures) = tokio::join!(
            self.envelope(resolver, from, asked, evidence_end),
            within(evidence_end, signatures(resolver, signed)),
        );
        let signatures = signatures.filter(|_| hashed.is_some());
        let mut results = Results::default();
        envelope.tell(&mut results);
        tell_signatures(signatures.as_deref(), header.passed_over, &mut results);
        let refuse = match (&header.authors, &parsed) {
            (Authors::Of(author), Some(parsed)) => {
                let dmarc = dmarc(resolver, parsed, &envelope, signatures);
                let end = if place.is_some() { end } else { began };
                let (word, policy) = within(end, dmarc).await.unwrap_or(("temperror", None));
                results.dmarc(word, Some(author), policy);
                (word, policy) == ("fail", Some(Policy::Reject))
            }
            // RFC 5322 forbids it. Nobody can say whom which reader shows.
            (Authors::Unclear, _) => {
                results.dmarc("permerror", None, None);
                true
            }
            (Authors::Nobody | Authors::Several | Authors::Of(_), _) => {
                results.dmarc("none", None, None);
                false
            }
        };
        Verified { results: results.into_text(), refuse: refuse && self.what == Verification::Reject }
    }

    async fn envelope(
        &self,
        resolver: &MessageAuthenticator,
        from: IpAddr,
        asked: &Verify,
        end: Instant,
    ) -> Envelope {
        let (helo, sender, host) = (&*asked.helo, &*asked.sender, &*self.host);
        let of_helo = SpfParameters::verify_ehlo(from, helo, host);
        let of_sender = SpfParameters::verify_mail_from(from, helo, host, sender);
        let (helo, of_sender) = tokio::join!(spf(resolver, helo, of_helo, end), async {
            match sender.rsplit_once('@') {
                Some((_, domain)) => Some(spf(resolver, domain, of_sender, end).await),
                None => None,
            }
        });
        Envelope { helo, sender: of_sender }
    }
}

impl Envelope {
    /// What DMARC goes by.
    fn identity(&self) -> &SpfOutput {
        self.sender.as_ref().unwrap_or(&self.helo)
    }

    fn tell(&self, results: &mut Results) {
        if self.sender.is_none() || is_name(self.helo.domain()) {
            results.spf(self.helo.result(), "smtp.helo", self.helo.domain());
        }
        if let Some(sender) = &self.sender {
            results.spf(sender.result(), "smtp.mailfrom", sender.domain());
        }
    }
}

/// What comes of something in time; nothing is begun when that is over.
async fn within<T>(end: Instant, asked: impl Future<Output = T>) -> Option<T> {
    if Instant::now() >= end {
        return None;
    }
    timeout_at(end, asked).await.ok()
}

async fn spf(
    resolver: &MessageAuthenticator,
    domain: &str,
    identity: SpfParameters<'_>,
    end: Instant,
) -> SpfOutput {
    let nothing = SpfOutput::new(domain.to_owned());
    if !is_name(domain) {
        return nothing;
    }
    let found = within(end, resolver.verify_spf(identity)).await;
    found.unwrap_or(nothing.with_result(SpfResult::TempError))
}

/// Whether name servers can be asked about it.
fn is_name(domain: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "-_".contains(c);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(good);
    domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label)
}

async fn signatures<'a>(
    resolver: &MessageAuthenticator,
    signed: Option<&'a AuthenticatedMessage<'a>>,
) -> Vec<DkimOutput<'a>> {
    match signed {
        Some(signed) => resolver.verify_dkim(signed).await,
        None => Vec::new(),
    }
}

fn tell_signatures(signatures: Option<&[DkimOutput<'_>]>, passed_over: usize, results: &mut Results) {
    let Some(signatures) = signatures else { return results.dkim_word("temperror") };
    signatures.iter().for_each(|found| results.dkim(found));
    if passed_over > 0 {
        results.dkim_word("policy (too many or too long)");
    } else if signatures.is_empty() {
        results.dkim_word("none");
    }
}

/// DMARC's word, and what the author's domain wants to be done with a letter that fails. It cannot fail while there are
/// signatures that nobody could look at.
async fn dmarc(
    resolver: &MessageAuthenticator,
    parsed: &AuthenticatedMessage<'_>,
    envelope: &Envelope,
    signatures: Option<Vec<DkimOutput<'_>>>,
) -> (&'static str, Option<Policy>) {
    let complete = signatures.is_some();
    let mut signatures = signatures.unwrap_or_default();
    signatures.retain(|found| *found.result() != DkimResult::Pass || counts(found));
    let identity = envelope.identity();
    let asked = DmarcParameters::new(parsed, &signatures, identity.domain(), identity);
    let found = resolver.verify_dmarc(asked).await;
    let word = match found.result() {
        DmarcResult::Fail(_) if !complete => "temperror",
        result => dmarc_word(&result),
    };
    (word, found.dmarc_record().map(|_| found.policy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_asked_about() {
        for name in ["x.org", "mx_1.x-y.org", "b\u{fc}cher.example"] {
            assert!(is_name(name), "{name}");
        }
        let long = format!("{}.org", "x".repeat(64));
        for other in ["", "localhost", "[127.0.0.1]", "x..org", ".org", "x.org.", "x y.org", "x;.org", &long]
        {
            assert!(!is_name(other), "{other}");
        }
    }
}

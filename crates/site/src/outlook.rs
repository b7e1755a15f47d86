//! What a site sees of its cluster beside the node: which certificates are shown and until when they hold, what the others'
//! clocks show, and since when who is not there. For status and metrics; nothing is decided by it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use net::cert::Certificate;
use net::{Links, Shown, Trust};
use serde_json::{Value, json};
use stack::{SiteState, SiteSummary};
use wire::SiteId;

use crate::absences::Absences;
use crate::clocks::Clocks;
use crate::levels::Levels;

/// Where a site looks when it is asked about its cluster.
pub(crate) struct Outlook {
    pub(crate) me: SiteId,
    pub(crate) shown: Arc<Shown>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) links: Links,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) absences: Arc<Absences>,
    pub(crate) levels: Arc<Levels>,
}

impl Outlook {
    /// The certificate that a site shows: this one's own, or that of a link that is up.
    fn certificate(&self, site: SiteId) -> Option<Certificate> {
        if site == self.me {
            return Some(self.shown.certificate());
        }
        self.links.certificate(site)
    }

    /// Whether what is known of a site is of now.
    pub(crate) fn is_seen(&self, site: SiteId) -> bool {
        site == self.me || self.links.is_up(site)
    }

    /// The feature levels that a site's program has, or had when it was linked last.
    pub(crate) fn levels_of(&self, site: SiteId) -> Option<RangeInclusive<u32>> {
        if site == self.me { Some(self.levels.supported()) } else { self.levels.of(site) }
    }

    /// The trust roots, as `status` names them.
    pub(crate) fn authorities(&self) -> Vec<String> {
        self.trust.authorities().iter().map(ToString::to_string).collect()
    }

    /// Takes a look at who is there, for what is said next.
    pub(crate) fn observe(&self, sites: &[SiteSummary]) {
        self.absences.observe(sites);
    }

    /// What is known of a site beside its summary.
    pub(crate) fn describe(&self, site: &SiteSummary) -> BTreeMap<&'static str, Value> {
        let mut known = BTreeMap::new();
        if let Some(certificate) = self.certificate(site.site) {
            known.insert("certificate", self.describe_certificate(&certificate));
        }
        if let Some(skew) = self.clocks.skew(site.site) {
            let (ahead, error) = (skew.ahead_us, skew.error_us);
            known.insert("clock", json!({ "ahead_us": ahead, "error_us": error, "far": skew.is_far() }));
        }
        if site.state == SiteState::Down {
            known.insert("absent", self.describe_absence(site.site));
        }
        known
    }

    fn describe_absence(&self, site: SiteId) -> Value {
        let known = self.absences.known(site);
        let problem = self.links.problem(site).map(|(at, text)| {
            let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            json!({ "at": at, "text": text })
        });
        json!({
            "since": known.since,
            "seen": known.seen,
            "not_seen_since": self.absences.started,
            "incarnation": known.incarnation.map(|incarnation| incarnation.0),
            "linked": self.links.is_up(site),
            "problem": problem,
        })
    }

    fn describe_certificate(&self, certificate: &Certificate) -> Value {
        let (validity, now) = (certificate.validity(), SystemTime::now());
        let until = validity.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        json!({
            "serial": certificate.serial().to_string(),
            "until": until.as_secs(),
            "left_s": validity.seconds_left(now),
            "renew": validity.is_ending(now),
            "authority": self.trust.authority(certificate).map(|id| id.to_string()),
        })
    }

    /// Writes the gauges of these sites.
    pub(crate) fn write_metrics(&self, out: &mut String, sites: &[SiteSummary]) {
        let now = SystemTime::now();
        let left =
            |site: &SiteSummary| Some(self.certificate(site.site)?.validity().seconds_left(now).to_string());
        let help = "Seconds until the certificate that a site shows expires; negative when it has";
        gauge(out, "certificate_expires_seconds", help, sites, left);
        let seconds = |micros: f64| format!("{:.6}", micros / 1e6);
        let skew = |site: &SiteSummary| self.clocks.skew(site.site);
        let help = "How far a linked site's clock is ahead of this one's";
        let ahead = |site: &SiteSummary| Some(seconds(skew(site)?.ahead_us as f64));
        gauge(out, "clock_ahead_seconds", help, sites, ahead);
        let help = "By how much that may be wrong: half the round trip";
        let error = |site: &SiteSummary| Some(seconds(skew(site)?.error_us as f64));
        gauge(out, "clock_error_seconds", help, sites, error);
    }
}

/// One gauge with a value for each site that has one.
fn gauge(
    out: &mut String,
    name: &str,
    help: &str,
    sites: &[SiteSummary],
    value: impl Fn(&SiteSummary) -> Option<String>,
) {
    // Writing to memory does not fail.
    let _ = write!(out, "# HELP unanimous_{name} {help}\n# TYPE unanimous_{name} gauge\n");
    for site in sites {
        if let Some(value) = value(site) {
            let _ = writeln!(out, "unanimous_{name}{{site=\"{}\"}} {value}", label(&site.name));
        }
    }
}

/// A site's name as the value of a label.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

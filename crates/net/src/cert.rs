//! Certificates of a cluster: its authority, and what it issues to sites, clients and administrators.
//!
//! Who a certificate speaks for stands in one URI among its alternative names:
//! `unanimous://CLUSTER/site/ID/NAME`, `…/site/NAME`, `…/client/NAME`, `…/administrator/NAME`, and `…/authority` for
//! the authority itself. Keys are ECDSA P-256. Key files are readable by their owner only.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wire::{ClusterId, SiteId};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Refusal;

const SCHEME: &str = "unanimous://";

/// A certificate that ends sooner than this should have been renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest name in a certificate.
pub const NAME_BYTES_MAX: usize = 64;

/// What the owner of a certificate may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A site of the cluster, whose number the authority has chosen.
    Site(SiteId),
    /// A site whose number the sites find among themselves: they remember which name has which.
    NamedSite,
    /// A program that opens sessions.
    Client,
    /// Who may change the cluster.
    Administrator,
}

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// In which cluster.
    pub cluster: ClusterId,
    /// As what.
    pub role: Role,
    /// Under which name: letters, digits, `.`, `_`, `-`.
    pub name: String,
}

/// A certificate's serial number: what a revocation names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: SystemTime,
    /// The last moment.
    pub until: SystemTime,
}

/// Why certificates could not be made, read or written. Files that existed before are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A name that may not stand in a certificate.
    #[error("{0:?} is no name for a certificate: 1 to 64 letters, digits, '.', '_', '-'")]
    Name(String),
    /// The system's source of randomness failed.
    #[error("no randomness from the system")]
    Random,
    /// A trust root cannot be used.
    #[error("a trust root cannot be used: {0}")]
    Root(String),
    /// Certificate, key and trust roots are readable, and of no use with each other.
    #[error("{0}")]
    Set(String),
}

/// A cluster's authority with its key. Never kept on a serving site.
pub struct Authority {
    cluster: ClusterId,
    certificate_pem: String,
    key: KeyPair,
}

/// A certificate that has been read. Nothing is said about who has signed it.
#[derive(Clone, Debug)]
pub struct Certificate {
    principal: Principal,
    serial: Serial,
    validity: Validity,
    der: CertificateDer<'static>,
}

/// A certificate with its key: what a site or client shows.
pub struct Identity {
    certificate: Certificate,
    key: PrivateKeyDer<'static>,
}

impl Validity {
    /// From an hour ago, for clocks that differ, over the given number of days.
    pub fn days(days: u32) -> Validity {
        let now = SystemTime::now();
        Validity {
            from: now - Duration::from_secs(3600),
            until: now + Duration::from_secs(u64::from(days) * 24 * 3600),
        }
    }

    /// Whether it is time to renew: less is left than 30 days, or than a tenth of a short life.
    pub fn is_ending(&self, at: SystemTime) -> bool {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        let left = self.until.duration_since(at).unwrap_or_default();
        left < RENEW_BEFORE.min(life / 10)
    }

    /// Whole seconds that are left; negative if it is over.
    pub fn seconds_left(&self, at: SystemTime) -> i64 {
        let seconds = |left: Duration| i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        match self.until.duration_since(at) {
            Ok(left) => seconds(left),
            Err(over) => -seconds(over.duration()),
        }
    }
}

impl Authority {
    /// Makes a new authority for a cluster.
    pub fn generate(cluster: ClusterId, validity: Validity) -> Result<Authority, CertError> {
        let key = KeyPair::generate()?;
        let mut params = params(&format!("{SCHEME}{cluster}/authority"), "unanimous authority", validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Authority { cluster, certificate_pem, key })
    }

    /// Reads an authority from its two files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Authority, CertError> {
        let certificate_pem = read(certificate)?;
        let root = parse_certificate(certificate, &certificate_pem)?;
        let cluster = authority_of(&root).map_err(|why| content(certificate, why))?;
        let key = KeyPair::from_pem(&read(key)?).map_err(|why| content(key, why))?;
        Ok(Authority { cluster, certificate_pem, key })
    }

    /// Writes the two files.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), CertError> {
        write(key, &self.key.serialize_pem(), 0o600)?;
        write(certificate, &self.certificate_pem, 0o644)
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The authority's certificate: a trust root.
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).expect("it was made or read as PEM")
    }

    /// The authority's certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key as PEM, to be written where nobody else reads it.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Issues a certificate to somebody of this cluster.
    pub fn issue(&self, role: Role, name: &str, validity: Validity) -> Result<Identity, CertError> {
        let principal = Principal { cluster: self.cluster, role, name: name.to_owned() };
        if !is_name(&principal.name) {
            return Err(CertError::Name(principal.name));
        }
        let mut params = params(&principal.to_string(), &principal.name, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key)?;
        let certificate = Certificate::read(params.signed_by(&key, &issuer)?.der().clone());
        let certificate = certificate.expect("a principal reads back as it was written");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key just made is well formed");
        Ok(Identity { certificate, key })
    }
}

impl Certificate {
    /// Reads a certificate. Does not check its signature.
    pub fn read(der: CertificateDer<'static>) -> Result<Certificate, Refusal> {
        let (principal, serial) = identify(&der)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| Refusal::BadCertificate)?;
        // Dates before 1970 are as good as 1970.
        let moment = |seconds: i64| {
            let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            SystemTime::UNIX_EPOCH.checked_add(since).ok_or(Refusal::BadCertificate)
        };
        let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
        let validity = Validity { from: moment(from.timestamp())?, until: moment(until.timestamp())? };
        Ok(Certificate { principal, serial, validity, der })
    }

    /// Reads a certificate's file.
    pub fn load(path: &Path) -> Result<Certificate, CertError> {
        let der = parse_certificate(path, &self::read(path)?)?;
        Certificate::read(der).map_err(|why| content(path, why))
    }

    /// Whom it speaks for.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Its serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// From when to when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

impl Identity {
    /// Reads a certificate and its key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Identity, CertError> {
        let certificate = Certificate::load(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes()).map_err(|why| content(key, why))?;
        Ok(Identity { certificate, key })
    }

    /// Writes the certificate and its key.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), CertError> {
        write(key, &self.key_pem(), 0o600)?;
        write(certificate, &self.certificate_pem(), 0o644)
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate.der)
    }

    /// The key as PEM, to be written where nobody else reads it.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_der())
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whom it speaks for.
    pub fn principal(&self) -> &Principal {
        &self.certificate.principal
    }

    /// Its serial number.
    pub fn serial(&self) -> &Serial {
        &self.certificate.serial
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

/// Reads trust roots: one or, while they are being rotated, two authorities in one file.
pub fn load_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    CertificateDer::pem_slice_iter(read(path)?.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| content(path, why))
}

/// A random cluster id, never 0.
pub fn random_cluster_id() -> Result<ClusterId, CertError> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CertError::Random)?;
    Ok(ClusterId(u64::from_le_bytes(bytes).max(1)))
}

/// Whom a certificate speaks for. Does not check its signature.
pub fn identify(certificate: &CertificateDer<'_>) -> Result<(Principal, Serial), Refusal> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| Refusal::BadCertificate)?;
    if !rest.is_empty() {
        return Err(Refusal::BadCertificate);
    }
    let mut uris = uris(&parsed)?.into_iter().filter(|uri| uri.starts_with(SCHEME));
    match (uris.next(), uris.next()) {
        (Some(uri), None) => {
            Ok((Principal::parse(uri).ok_or(Refusal::BadIdentity)?, Serial::new(parsed.raw_serial())))
        }
        (Some(_), Some(_)) | (None, _) => Err(Refusal::BadIdentity),
    }
}

impl Principal {
    fn parse(uri: &str) -> Option<Principal> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let cluster = parse_cluster(parts.next()?)?;
        let rest: Vec<&str> = parts.take(4).collect();
        let (role, name) = match rest[..] {
            ["site", number, name] => (Role::Site(SiteId(parse_number(number)?)), name),
            ["site", name] => (Role::NamedSite, name),
            ["client", name] => (Role::Client, name),
            ["administrator", name] => (Role::Administrator, name),
            _ => return None,
        };
        is_name(name).then(|| Principal { cluster, role, name: name.to_owned() })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Principal { cluster, role, name } = self;
        match role {
            Role::Site(site) => write!(f, "{SCHEME}{cluster}/site/{}/{name}", site.0),
            Role::NamedSite => write!(f, "{SCHEME}{cluster}/site/{name}"),
            Role::Client => write!(f, "{SCHEME}{cluster}/client/{name}"),
            Role::Administrator => write!(f, "{SCHEME}{cluster}/administrator/{name}"),
        }
    }
}

impl Serial {
    /// A serial from its bytes, big-endian; leading zeros do not count.
    pub fn new(bytes: &[u8]) -> Serial {
        Serial(bytes.iter().copied().skip_while(|b| *b == 0).collect())
    }

    /// Its bytes, big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the hexadecimal form that [`Serial`]'s `Display` writes.
    pub fn parse(text: &str) -> Option<Serial> {
        if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let bytes: Option<Vec<u8>> =
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect();
        bytes.map(|bytes| Serial::new(&bytes))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number for a name, the same everywhere: two names of a cluster do not share one, but by a chance of 2⁻⁶⁴.
pub fn fingerprint(name: &str) -> u64 {
    let sum = digest(&SHA256, name.as_bytes());
    u64::from_le_bytes(*sum.as_ref().first_chunk().expect("a digest is longer"))
}

fn params(uri: &str, common_name: &str, validity: Validity) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.serial_number = Some(random_serial()?);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(validity.from);
    params.not_after = epoch + since(validity.until);
    Ok(params)
}

fn random_serial() -> Result<SerialNumber, CertError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CertError::Random)?;
    // Positive, and of the same length always.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Of which cluster a trust root is the authority.
pub fn authority_of(certificate: &CertificateDer<'_>) -> Result<ClusterId, Refusal> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| Refusal::BadCertificate)?;
    uris(&parsed)?
        .into_iter()
        .find_map(|uri| parse_cluster(uri.strip_prefix(SCHEME)?.strip_suffix("/authority")?))
        .ok_or(Refusal::BadIdentity)
}

fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, Refusal> {
    let names = certificate.subject_alternative_name().map_err(|_| Refusal::BadCertificate)?;
    let names = names.ok_or(Refusal::BadIdentity)?;
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Ok(uris.collect())
}

fn parse_cluster(text: &str) -> Option<ClusterId> {
    let plain = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(text, 16).ok().map(ClusterId)).flatten()
}

/// One way to write each number: no sign, no leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text && number != 0).then_some(number)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn parse_certificate(path: &Path, pem: &str) -> Result<CertificateDer<'static>, CertError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| content(path, why))
}

fn content(path: &Path, what: impl fmt::Display) -> CertError {
    CertError::Content { path: path.to_owned(), what: what.to_string() }
}

fn read(path: &Path) -> Result<String, CertError> {
    fs::read_to_string(path).map_err(|error| CertError::File { path: path.to_owned(), error })
}

/// Replaces a file as a whole; it never exists with wider permissions than `mode`.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let failed = |error| CertError::File { path: path.to_owned(), error };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

/// Writes PEM: base64 in lines of 64.
fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits =
                group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for i in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
                text.push(if i <= group.len() { char::from(digit) } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_read_back_as_written_and_keys_are_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let ca = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
        ca.save(&path("ca.pem"), &path("ca.key")).expect("saved");
        let ca = Authority::load(&path("ca.pem"), &path("ca.key")).expect("loaded");
        assert_eq!(ca.cluster(), ClusterId(7));
        let site = ca.issue(Role::Site(SiteId(3)), "site-3", Validity::days(1)).expect("issued");
        site.save(&path("site.pem"), &path("site.key")).expect("saved");
        site.save(&path("site.pem"), &path("site.key")).expect("saved again");
        let loaded = Identity::load(&path("site.pem"), &path("site.key")).expect("loaded");
        assert_eq!(loaded.principal(), site.principal());
        assert_eq!(loaded.serial(), site.serial());
        assert_eq!(loaded.key, site.key);
        assert_eq!(Serial::parse(&site.serial().to_string()).as_ref(), Some(site.serial()));
        for key in ["ca.key", "site.key"] {
            let mode = fs::metadata(path(key)).expect("the key file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn only_one_way_of_writing_a_principal_is_read() {
        let good = "unanimous://0000000000000007/site/2/two";
        assert_eq!(Principal::parse(good).expect("good").to_string(), good);
        // A name may look like a number; how many parts there are tells the two apart.
        for named in ["unanimous://0000000000000007/site/two", "unanimous://0000000000000007/site/2"] {
            let principal = Principal::parse(named).expect("good");
            assert_eq!((principal.role, principal.to_string().as_str()), (Role::NamedSite, named));
        }
        for bad in [
            "unanimous://7/site/2/two",
            "unanimous://0000000000000007/site/02/two",
            "unanimous://0000000000000007/site/+2/two",
            "unanimous://0000000000000007/site/0/two",
            "unanimous://0000000000000007/site/2/two/more",
            "unanimous://0000000000000007/site/2/",
            "unanimous://0000000000000007/site/",
            "unanimous://0000000000000007/site",
            "unanimous://0000000000000007/client/a/b",
            "unanimous://0000000000000007/king/x",
            "unanimous://0000000000000007/client/a b",
            "https://0000000000000007/client/a",
        ] {
            assert_eq!(Principal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_to_be_renewed_thirty_days_or_a_tenth_of_its_life_before_its_end() {
        let day = Duration::from_secs(24 * 3600);
        let from = SystemTime::UNIX_EPOCH + 10_000 * day;
        for (life, before) in [(825, 30), (300, 30), (100, 10), (10, 1)] {
            let validity = Validity { from, until: from + life * day };
            assert!(!validity.is_ending(validity.until - before * day));
            assert!(validity.is_ending(validity.until - before * day + Duration::from_secs(1)));
            assert!(validity.is_ending(validity.until + day));
            assert_eq!(validity.seconds_left(validity.until + day), -24 * 3600);
        }
        let ca = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
        let validity = Validity { from, until: from + 9 * day };
        let issued = ca.issue(Role::Client, "x", validity).expect("issued");
        assert_eq!(issued.certificate().validity(), validity);
    }

    #[test]
    fn names_that_could_be_mistaken_are_not_issued() {
        let ca = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
        for bad in ["", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(matches!(ca.issue(Role::Client, bad, Validity::days(1)), Err(CertError::Name(_))));
        }
    }
}

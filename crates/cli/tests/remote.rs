//! Sessions from other machines: mutual TLS, and what each role may do.

mod sites;

use std::path::PathBuf;
use std::process::Output;

use sites::{Cluster, GAVE_UP, text, unanimous, utf8};
use unanimous::session::protocol::{ErrorCode, Op, Principal};
use unanimous::session::{Error as SessionError, connect};
use unanimous::{Bytes, Credentials, Event, JoinOptions, Running, Site};

struct Remote {
    cluster: Cluster,
    address: String,
}

impl Remote {
    fn new() -> Remote {
        let mut cluster = Cluster::new(&["a"], |_, config| {
            config.site.remote_session = Some(std::net::SocketAddr::new(config.site.link.ip(), 0));
        });
        cluster.start(0);
        cluster.until_up(0, &["a"]);
        let running = Running::read(&cluster.path(0, "data")).expect("it runs");
        let host =
            unanimous::SiteConfig::read(&cluster.path(0, "site.toml")).expect("readable").site.link.ip();
        let address = format!("tls:{host}:{}", running.ports["session"]);
        Remote { cluster, address }
    }

    fn issue(&self, name: &str, role: &str) -> PathBuf {
        let out = self.cluster.dir().join(name);
        let authority = self.cluster.dir().join("ca");
        let issued = unanimous()
            .args(["cert", "issue", "--name", name, "--role", role])
            .args(["--authority", utf8(&authority), "--out", utf8(&out)])
            .output()
            .expect("runs");
        assert!(issued.status.success(), "{}", text(&issued.stderr));
        out
    }

    fn run(&self, args: &[&str]) -> Output {
        unanimous().args(["--site", &self.address]).args(args).output().expect("runs")
    }
}

#[tokio::test]
async fn a_remote_program_does_what_its_certificate_allows() {
    let remote = Remote::new();
    let alice = remote.issue("alice", "client");
    let root = remote.issue("root", "administrator");

    // The command line, by flags and by the environment.
    let status = remote.run(&["--cert", utf8(&alice), "--json", "status"]);
    assert!(status.status.success(), "{}", text(&status.stderr));
    let files = Credentials::in_dir(&alice);
    let named = [
        ("UNANIMOUS_SITE", remote.address.as_str()),
        ("UNANIMOUS_CERT", utf8(&files.certificate)),
        ("UNANIMOUS_KEY", utf8(&files.key)),
        ("UNANIMOUS_CA", utf8(&files.authority)),
    ];
    let status = unanimous().envs(named).args(["--json", "status"]).output().expect("runs");
    assert!(status.status.success(), "{}", text(&status.stderr));

    // A client joins and casts; it does not administer.
    let config = files.load().expect("good credentials");
    let address =
        remote.address.parse::<unanimous::session::Address>().expect("an address").with_tls(&config);
    let process = Site::connect(&address, "test").await.expect("let in");
    let (group, mut events) = process.join("chat", JoinOptions::default()).await.expect("may join");
    group.cast("hello").send().await.expect("may cast");
    let heard = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("a member") {
                return message.payload;
            }
        }
    };
    assert_eq!(tokio::time::timeout(GAVE_UP, heard).await.expect("it comes"), "hello");
    let (session, _events) = connect(&address, "test").await.expect("let in");
    assert_eq!(session.principal(), Principal::Member);
    match session.request(Op::Stop, Bytes::new()).await {
        Err(SessionError::Refused(failure)) => assert_eq!(failure.error, ErrorCode::NotAllowed),
        other => panic!("{other:?}"),
    }

    // An administrator does.
    let config = Credentials::in_dir(&root).load().expect("good credentials");
    let (session, _events) = connect(&address.with_tls(&config), "test").await.expect("let in");
    assert_eq!(session.principal(), Principal::Administer);
    session.request(Op::Stop, Bytes::new()).await.expect("may stop the site");
}

#[test]
fn a_remote_program_without_the_right_certificate_is_told_so() {
    let remote = Remote::new();
    let alice = remote.issue("alice", "client");

    let none = remote.run(&["status"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("--cert"), "{}", text(&none.stderr));

    // A site's certificate is for links.
    let certificates = remote.cluster.path(0, "certificates");
    let (cert, key) = (certificates.join("site.pem"), certificates.join("site.key"));
    let site = remote.run(&["--cert", utf8(&cert), "--key", utf8(&key), "status"]);
    assert_eq!(site.status.code(), Some(1), "{}", text(&site.stderr));
    assert!(text(&site.stderr).contains("refused this certificate"), "{}", text(&site.stderr));

    // Another cluster's authority vouches for nobody here, and nobody here is trusted by its programs.
    let other = Remote::new();
    let mallory = other.issue("mallory", "administrator");
    let untrusting = remote.run(&["--cert", utf8(&mallory), "status"]);
    assert_eq!(untrusting.status.code(), Some(1), "{}", text(&untrusting.stderr));
    assert!(text(&untrusting.stderr).contains("--ca"), "{}", text(&untrusting.stderr));

    // It still serves.
    assert!(remote.run(&["--cert", utf8(&alice), "status"]).status.success());
}

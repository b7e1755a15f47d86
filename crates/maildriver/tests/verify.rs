//! Senders of letters, verified with a name server of the test's own.

#[path = "common/name_server.rs"]
mod name_server;
#[path = "common/signing.rs"]
mod signing;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use maildriver::edge::{Verified, Verify};
use maildriver::verify::Verifier;
use maildriver::verify::limits::VERIFIED_WITHIN;
use name_server::{NameServer, Says};
use signing::{Key, signed};
use site::{MailConfig, NameServers, Verification};

/// Where letters come from.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LETTER: &str = "From: Ann <ann@x.test>\r\nSubject: hello\r\n\r\nHello,\r\n\r\nthis is it.\r\n";
/// Who may send as `x.test`: the client, and whoever has its keys.
const OPEN: &str = "v=spf1 ip4:192.0.2.0/24 -all";
const CLOSED: &str = "v=spf1 -all";

/// A name server, and a site that asks it.
struct Bench {
    server: NameServer,
    verifier: Verifier,
}

impl Bench {
    fn new(what: Verification) -> Bench {
        let server = NameServer::start();
        let verifier = Verifier::new(&settings(&server, Some(what)), "mx.here.test");
        Bench { server, verifier }
    }

    /// With the keys of `x.test`, and this policy of it.
    fn with_policy(spf: &str, policy: &str) -> Bench {
        let bench = Bench::new(Verification::Reject);
        bench.server.text("x.test", spf);
        bench.server.text("_dmarc.x.test", policy);
        for key in [Key::Rsa, Key::Ed25519] {
            bench.server.text(&format!("{}._domainkey.x.test", key.selector()), &key.record());
        }
        bench
    }

    async fn found(&self, sender: &str, letter: &str) -> Verified {
        self.verifier.verify(asked("mail.other.test", sender, letter)).await.expect("it tries")
    }

    async fn results(&self, sender: &str, letter: &str) -> String {
        self.found(sender, letter).await.results
    }
}

fn settings(server: &NameServer, verify: Option<Verification>) -> MailConfig {
    MailConfig { verify, resolver: NameServers(vec![server.at()]), ..MailConfig::of("here.test") }
}

fn asked(helo: &str, sender: &str, letter: &str) -> Verify {
    Verify {
        address: Some(CLIENT),
        helo: helo.to_owned(),
        sender: sender.to_owned(),
        letter: letter.to_owned().into(),
        header_bytes: letter.find("\r\n\r\n").map_or(letter.len(), |end| end + 2),
    }
}

#[tokio::test]
async fn spf_says_who_may_send() {
    let bench = Bench::new(Verification::Record);
    let server = &bench.server;
    server.text("pass.test", OPEN);
    server.text("fail.test", CLOSED);
    server.text("soft.test", "v=spf1 ~all");
    server.text("neutral.test", "v=spf1 ?all");
    server.text("none.test", "something else");
    server.text("wrong.test", "v=spf1 ip4:nowhere -all");
    server.tell("broken.test", Says::Fails);
    server.text("mx.test", "v=spf1 mx -all");
    server.tell("mx.test", Says::Mx("mail.mx.test"));
    server.tell("mail.mx.test", Says::A(Ipv4Addr::new(192, 0, 2, 7)));
    server.text("included.test", "v=spf1 include:fail.test include:mx.test -all");
    let includes: String = (1..=11).map(|n| format!("include:i{n}.many.test ")).collect();
    server.text("many.test", &format!("v=spf1 {includes}+all"));
    (1..=11).for_each(|n| server.text(&format!("i{n}.many.test"), "v=spf1 -all"));
    server.text("circle.test", "v=spf1 redirect=circle.test");
    for (domain, wanted) in [
        ("pass.test", "pass"),
        ("fail.test", "fail"),
        ("soft.test", "softfail"),
        ("neutral.test", "neutral"),
        ("none.test", "none"),
        ("unknown.test", "none"),
        ("wrong.test", "permerror"),
        ("broken.test", "temperror"),
        ("mx.test", "pass"),
        ("included.test", "pass"),
        ("many.test", "permerror"),
        ("circle.test", "permerror"),
    ] {
        let results = bench.results(&format!("eve@{domain}"), LETTER).await;
        assert!(results.contains(&format!("spf={wanted} smtp.mailfrom={domain};")), "{domain}: {results}");
    }
    // The null reverse path is the hello's.
    let asked = asked("pass.test", "", LETTER);
    let found = bench.verifier.verify(asked).await.expect("it tries");
    assert!(found.results.starts_with("spf=pass smtp.helo=pass.test; dkim="), "{found:?}");
}

#[tokio::test]
async fn look_ups_are_bounded() {
    let bench = Bench::new(Verification::Record);
    bench.server.text("circle.test", "v=spf1 redirect=circle.test");
    for n in 0..100 {
        let next = format!("v=spf1 include:d{}.deep.test a:h{n}.deep.test -all", n + 1);
        bench.server.text(&format!("d{n}.deep.test"), &next);
    }
    bench.results("eve@d0.deep.test", "Subject: x\r\n\r\n").await;
    // The text of the domain itself, ten more, and the hello's.
    assert!(bench.server.asked() <= 12, "{}", bench.server.asked());
    let many = format!("From: eve@{}x.test\r\n\r\n", "a.".repeat(60));
    let before = bench.server.asked();
    let results = bench.results("", &many).await;
    assert!(results.contains("dmarc=none"), "{results}");
    assert!(bench.server.asked() - before <= 9, "{}", bench.server.asked());
}

#[tokio::test]
async fn dkim_says_whether_a_letter_is_as_it_was_signed() {
    let bench = Bench::with_policy(CLOSED, "v=DMARC1; p=none");
    bench.server.text("revoked._domainkey.x.test", "v=DKIM1; p=");
    bench.server.tell("broken._domainkey.x.test", Says::Fails);
    let dkim = async |letter: &str| {
        let results = bench.results("eve@other.test", letter).await;
        let found = results.split("; ").find(|result| result.starts_with("dkim=")).expect("it is said");
        found.to_owned()
    };
    for key in [Key::Rsa, Key::Ed25519] {
        let (selector, letter) =
            (key.selector(), signed(key, "x.test", key.selector(), &["From", "Subject"], LETTER));
        assert_eq!(dkim(&letter).await, format!("dkim=pass header.d=x.test header.s={selector}"));
        let of = format!(" header.d=x.test header.s={selector}");
        let changed = letter.replace("this is it", "this was it");
        let why = "the text is not the one that was signed";
        assert_eq!(dkim(&changed).await, format!("dkim=fail ({why}){of}"));
        let changed = letter.replace("Subject: hello", "Subject: other");
        assert_eq!(dkim(&changed).await, format!("dkim=fail (the signature is wrong){of}"));
        // Lines of blanks at the end are no text, in the way to write it that this is signed in.
        assert_eq!(dkim(&format!("{letter} \r\n\t\r\n\r\n")).await, format!("dkim=pass{of}"));
    }
    let by = |selector: &str, fields: &[&str]| signed(Key::Ed25519, "x.test", selector, fields, LETTER);
    for (selector, fields, wanted) in [
        ("absent", &["From"][..], "permerror (there is no key)"),
        ("revoked", &["From"], "permerror (the key was revoked)"),
        ("broken", &["From"], "temperror (no name server answers)"),
        (Key::Ed25519.selector(), &["Subject"], "permerror (it does not cover the author)"),
    ] {
        let wanted = format!("dkim={wanted} header.d=x.test header.s={selector}");
        assert_eq!(dkim(&by(selector, fields)).await, wanted);
    }
    assert_eq!(dkim(LETTER).await, "dkim=none");
    assert_eq!(dkim("DKIM-Signature: what?\r\nFrom: ann@x.test\r\n\r\nx").await, "dkim=none");
}

#[tokio::test]
async fn the_policy_of_the_authors_domain_decides() {
    let own = signed(Key::Rsa, "x.test", Key::Rsa.selector(), &["From"], LETTER);
    let foreign = own.replace("d=x.test", "d=y.test");
    for (spf, policy, sender, letter, wanted, refuse) in [
        (OPEN, "v=DMARC1; p=reject", "ann@x.test", LETTER, "pass", false),
        (CLOSED, "v=DMARC1; p=reject", "ann@x.test", LETTER, "fail", true),
        (CLOSED, "v=DMARC1; p=quarantine", "ann@x.test", LETTER, "fail", false),
        (CLOSED, "v=DMARC1; p=none", "ann@x.test", LETTER, "fail", false),
        // A test changes the policy to the next that is milder.
        (CLOSED, "v=DMARC1; p=reject; t=y", "ann@x.test", LETTER, "fail", false),
        // Whoever sends it has to be who wrote it, or to have the author's key.
        (OPEN, "v=DMARC1; p=reject", "eve@other.test", LETTER, "fail", true),
        (CLOSED, "v=DMARC1; p=reject", "eve@other.test", &own, "pass", false),
        (CLOSED, "v=DMARC1; p=reject", "eve@other.test", &foreign, "fail", true),
        (OPEN, "v=DMARC1; p=reject", "ann@sub.x.test", LETTER, "pass", false),
        (OPEN, "v=DMARC1; p=reject; aspf=s", "ann@sub.x.test", LETTER, "fail", true),
        (CLOSED, "something else", "ann@x.test", LETTER, "none", false),
    ] {
        let bench = Bench::with_policy(spf, policy);
        bench.server.text("other.test", OPEN);
        bench.server.text("sub.x.test", OPEN);
        let found = bench.found(sender, letter).await;
        let case = format!("{spf}, {policy}, {sender}: {found:?}");
        assert!(found.results.contains(&format!("dmarc={wanted} header.from=x.test")), "{case}");
        assert_eq!(found.refuse, refuse, "{case}");
    }
}

#[tokio::test]
async fn whose_letter_it_is_has_to_be_clear() {
    let bench = Bench::with_policy(CLOSED, "v=DMARC1; p=reject");
    for (header, wanted, refuse) in [
        ("From: ann@x.test\r\n", "fail header.from=x.test policy.dmarc=reject", true),
        ("from :ann@X.TEST\r\n", "fail header.from=x.test policy.dmarc=reject", true),
        ("From: ann@sub.x.test\r\n", "fail header.from=sub.x.test policy.dmarc=reject", true),
        ("From: ann@x.test, bob@x.test\r\n", "fail header.from=x.test policy.dmarc=reject", true),
        ("From: ann@x.test, eve@other.test\r\n", "none", false),
        ("From: eve@other.test\r\nFrom: ann@x.test\r\n", "permerror", true),
        ("Subject: x\r\n", "none", false),
        ("Subject: x\r\nno field\r\nFrom: ann@x.test\r\n", "none", false),
    ] {
        let letter = format!("{header}\r\nx\r\n");
        let mut asked = asked("mail.other.test", "eve@other.test", &letter);
        // Where the header ends is said by who asks.
        asked.header_bytes = letter.find("no field").unwrap_or(header.len());
        let found = bench.verifier.verify(asked).await.expect("it tries");
        assert!(found.results.ends_with(&format!("dmarc={wanted}")), "{header:?}: {found:?}");
        assert_eq!(found.refuse, refuse, "{header:?}: {found:?}");
    }
}

#[tokio::test]
async fn only_who_is_told_to_refuse_refuses() {
    let server = NameServer::start();
    server.text("x.test", CLOSED);
    server.text("_dmarc.x.test", "v=DMARC1; p=reject");
    for (verify, refuse) in
        [(None, false), (Some(Verification::Record), false), (Some(Verification::Reject), true)]
    {
        let verifier = Verifier::new(&settings(&server, verify), "mx.here.test");
        let found = verifier.verify(asked("other.test", "ann@x.test", LETTER)).await.expect("it tries");
        assert!(found.results.contains("dmarc=fail"), "{found:?}");
        assert_eq!(found.refuse, refuse, "{verify:?}");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_letters_from_the_machine_itself_or_in_a_trial() {
    let server = NameServer::start();
    let tries = async |trial, verify, address: &str| {
        let settings = MailConfig { trial, ..settings(&server, verify) };
        let address = Some(address.parse().expect("an address"));
        let asked = Verify { address, ..asked("other.test", "ann@x.test", LETTER) };
        Verifier::new(&settings, "mx.here.test").verify(asked).await.is_some()
    };
    assert!(!tries(true, None, "192.0.2.7").await);
    assert!(!tries(false, Some(Verification::Off), "192.0.2.7").await);
    for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        assert!(!tries(false, Some(Verification::Reject), own).await, "{own}");
    }
    assert_eq!(server.asked(), 0);
    assert!(tries(true, Some(Verification::Record), "127.0.0.1").await);
    assert!(tries(false, None, "2001:db8::1").await);
    assert!(server.asked() > 0);
}

#[tokio::test]
async fn name_servers_that_fail_are_no_reason_to_refuse() {
    let own = signed(Key::Rsa, "x.test", Key::Rsa.selector(), &["From"], LETTER);
    let key = format!("{}._domainkey.x.test", Key::Rsa.selector());
    for broken in ["x.test", "_dmarc.x.test", &key] {
        let bench = Bench::new(Verification::Reject);
        for (name, text) in [("x.test", CLOSED), ("_dmarc.x.test", "v=DMARC1; p=reject")] {
            bench.server.tell(name, if name == broken { Says::Fails } else { Says::Txt(text.to_owned()) });
        }
        bench
            .server
            .tell(&key, if broken == key { Says::Fails } else { Says::Txt("v=DKIM1; p=".to_owned()) });
        let found = bench.found("ann@x.test", &own).await;
        assert!(found.results.contains("dmarc=temperror header.from=x.test"), "{broken}: {found:?}");
        assert!(!found.refuse, "{broken}: {found:?}");
    }
}

#[tokio::test]
async fn name_servers_that_are_silent_are_not_waited_for() {
    let own = signed(Key::Rsa, "x.test", Key::Rsa.selector(), &["From"], LETTER);
    let key = format!("{}._domainkey.x.test", Key::Rsa.selector());
    for silent in [&["x.test"][..], &["_dmarc.x.test"], &[&key], &["x.test", "_dmarc.x.test", &key]] {
        let Bench { server, verifier } = Bench::new(Verification::Reject);
        for (name, text) in
            [("x.test", CLOSED), ("_dmarc.x.test", "v=DMARC1; p=reject"), (&key, "v=DKIM1; p=")]
        {
            let silent = silent.contains(&name);
            server.tell(name, if silent { Says::Silent } else { Says::Txt(text.to_owned()) });
        }
        // Whoever answers does so long before that; whoever is silent is for longer.
        let verifier = verifier.with_patience(Duration::from_secs(2));
        let found = verifier.verify(asked("mail.other.test", "ann@x.test", &own)).await.expect("it tries");
        assert!(found.results.contains("dmarc=temperror header.from=x.test"), "{silent:?}: {found:?}");
        assert!(!found.refuse, "{silent:?}: {found:?}");
    }
    assert!(VERIFIED_WITHIN <= Duration::from_secs(10));
}

#[tokio::test]
async fn answers_that_were_not_asked_for_are_not_believed() {
    let bench = Bench::new(Verification::Record);
    bench.server.tell("x.test", Says::Forged("y.test", OPEN));
    bench.server.text("x.test", CLOSED);
    bench.server.text("y.test", CLOSED);
    for domain in ["x.test", "y.test"] {
        let results = bench.results(&format!("eve@{domain}"), LETTER).await;
        assert!(!results.contains("spf=pass"), "{results}");
    }
}

#[tokio::test]
async fn whatever_a_stranger_is_called_the_results_are_ours() {
    let bench = Bench::new(Verification::Record);
    let names = [
        "x.test; dmarc=pass",
        "x.test\r\nSubject: y",
        "\"",
        "(",
        "x.test (dkim=pass)",
        "\u{202e}.test",
        "..",
        "\0.test",
    ];
    for name in names {
        let sent = signed(Key::Ed25519, "x.test", "one", &["From"], LETTER);
        let tag = name.replace("; ", "=3B ").replace("\r\n", "\r\n ");
        let letter = sent.replace("d=x.test", &format!("d={tag}")).replace("s=one", &format!("s={tag}"));
        let letter = letter.replace("ann@x.test", &format!("\"{name}\"@{tag}"));
        let asked = asked(name, &format!("eve;spf=pass@{name}"), &letter);
        let results = bench.verifier.verify(asked).await.expect("it tries").results;
        let methods: Vec<&str> = results.split(';').map(str::trim).collect();
        let of = |method: &str| methods.iter().filter(|result| result.starts_with(method)).count();
        assert_eq!(of("spf=") + 2, methods.len(), "{name:?}: {results:?}");
        assert!(of("dkim=") == 1 && of("dmarc=") == 1, "{name:?}: {results:?}");
        assert!(results.chars().all(|c| c.is_ascii() && !c.is_control()), "{name:?}: {results:?}");
        assert!(!results.contains("=pass"), "{name:?}: {results:?}");
    }
}

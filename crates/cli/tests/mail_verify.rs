//! Senders of letters from outside, verified on a real site, with a name server of the test's own.

mod imap;
#[path = "../../maildriver/tests/common/name_server.rs"]
mod name_server;
mod sites;

use imap::{Imap, add_user, port, serve};
use name_server::NameServer;
use serde_json::json;
use sites::Cluster;
use unanimous::config::{NameServers, Verification};

/// Signed by another program, with the key of the example in RFC 8463, which the name server tells.
const SIGNED: &str = include_str!("imap/signed.eml");
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn letter(from: &str) -> String {
    format!("From: {from}\nTo: bob@mail.test\nSubject: hello\n\n.\n..dots\n")
}

#[test]
fn letters_from_outside_say_who_sent_them_and_forged_ones_are_refused() {
    let names = NameServer::start();
    let resolver = names.at();
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        let mail = config.mail.as_mut().expect("it serves mail");
        (mail.verify, mail.resolver) = (Some(Verification::Reject), NameServers(vec![resolver]));
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "bob");
    for domain in ["open.test", "closed.test"] {
        names.text(&format!("_dmarc.{domain}"), "v=DMARC1; p=reject");
    }
    names.text("open.test", "v=spf1 ip4:127.0.0.0/8 -all");
    names.text("closed.test", "v=spf1 -all");
    names.text("one._domainkey.closed.test", KEY);

    let mut imap = Imap::start();
    imap.smtp("stranger", port(&cluster, 0, "smtp"), "smtp", None);
    let mut code = |sender: &str, text: &str| {
        let sent = imap.send("stranger", sender, &["bob@mail.test"], text);
        (sent["code"].clone(), sent.to_string())
    };
    let (taken, said) = code("eve@open.test", &letter("eve@open.test"));
    assert_eq!(taken, 250, "{said}");
    let (refused, said) = code("eve@open.test", &letter("ann@closed.test"));
    assert_eq!(refused, 550, "{said}");
    assert!(said.contains("5.7.26"), "{said}");
    // Whoever has the author's key is believed, as long as nothing was changed.
    let (refused, said) = code("eve@open.test", &SIGNED.replace("dots", "points"));
    assert_eq!(refused, 550, "{said}");
    let (taken, said) = code("eve@open.test", SIGNED);
    assert_eq!(taken, 250, "{said}");

    imap.connect("bob", port(&cluster, 0, "imap"), "bob");
    assert_eq!(imap.select("bob").0, 2);
    let letters = imap.letters("bob");
    let text = |n: usize| letters[n][2].as_str().expect("a text").to_owned();
    let spf = "\n\tspf=pass smtp.mailfrom=open.test;\n\tdkim=none;\n";
    let dmarc = "\tdmarc=pass header.from=open.test policy.dmarc=reject\n";
    let first = text(0);
    assert!(first.contains("\nAuthentication-Results: a.mail.test;\n\t"), "{first}");
    assert!(first.contains(&format!("{spf}{dmarc}Received: ")), "{first}");
    let second = text(1);
    let dkim = "\tdkim=pass header.d=closed.test header.s=one;\n";
    let dmarc = "\tdmarc=pass header.from=closed.test policy.dmarc=reject\n";
    assert!(second.contains(&format!("{dkim}{dmarc}Received: ")), "{second}");

    // Without any name server letters are taken as well.
    drop(names);
    imap.ask(json!({"do": "close", "name": "stranger"}));
    imap.smtp("again", port(&cluster, 0, "smtp"), "smtp", None);
    let from = "eve@unknown.test";
    let sent = imap.send("again", from, &["bob@mail.test"], &letter(from));
    assert_eq!(sent["code"], 250, "{sent}");
    assert_eq!(imap.select("bob").0, 3);
    let third = imap.letters("bob")[2][2].as_str().expect("a text").to_owned();
    assert!(third.contains("\tdmarc=temperror header.from=unknown.test\n"), "{third}");
}

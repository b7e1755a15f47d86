//! Strangers at every port of a cluster at work: each is refused and counted, and the cluster does not notice.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use net::cert::{Authority, Identity, Role, Validity};
use net::{Expect, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use unanimous::session::protocol::ErrorCode;
use unanimous::session::{Address, Error, Tls};
use wire::SiteId;

use crate::support::caster::{Cast, Caster, Manner};
use crate::support::cluster::Cluster;
use crate::support::intruder::{Says, intrude};
use crate::support::line::member_changes;
use crate::support::member::Member;
use crate::support::oracle::{at_rest, judge, nothing_lost};
use crate::support::relay::Relay;
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, ensure, eventually};

/// Half-open connections at once, at each port.
const HALF_OPEN: usize = 1_000;

pub async fn run(run: &Run) -> Verdict {
    allow_many_descriptors();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut cluster =
        Cluster::on_loopback(run, 3, |config| config.site.remote_session = Some(anywhere)).await?;
    // What sites 1 and 2 say to each other passes this harness, which keeps their probes for later.
    let relays = [relay(&mut cluster, 0, 1).await?, relay(&mut cluster, 1, 0).await?];
    cluster.start().await?;
    let mut members = Vec::new();
    for site in &cluster.sites {
        members.push(Member::join(&site.address(), "chat", &format!("m{}", site.number)).await?);
    }
    for member in &members {
        member.log.view_of(3).await?;
    }
    let (_observer, cut) = open_session(&cluster).await?;
    let changes = member_changes(&cluster.sites)?;
    let manner = Manner { pause: Duration::from_millis(10), ..Manner::default() };
    let casters: Vec<Caster> = members.iter().map(|m| Caster::start(m, manner)).collect();

    let certified = certificates(&cluster).await? + cut;
    let garbage = garbage(&cluster.sites[0]).await?;
    let probes = probes(&cluster.sites[0], &relays).await?;
    let half_open = half_open(&cluster.sites[0]).await?;

    let mut cast = Cast::default();
    for caster in casters {
        cast.add(caster.stop().await?);
    }
    let logs: Vec<_> = members.iter().map(|member| member.log.clone()).collect();
    at_rest(&logs, &cast).await?;
    let judged = judge(&logs, &cast)?;
    nothing_lost(&logs, &cast)?;
    ensure(cast.refused.is_empty() && cast.unknown.is_empty(), || "casts were refused meanwhile".to_owned())?;
    ensure(member_changes(&cluster.sites)? == changes, || "somebody was removed".to_owned())?;
    run.say(format!(
        "refused and counted: {certified} certificates, {garbage} of garbage, {probes} probes, {half_open} half-open \
         connections; {} messages delivered meanwhile, nobody removed",
        judged.delivered
    ));
    cluster.check_alive()
}

/// What site `from` sends to site `to` passes a relay.
async fn relay(cluster: &mut Cluster, from: usize, to: usize) -> Verdict<Relay> {
    let relay = Relay::start(cluster.sites[to].config.site.link).await?;
    let number = cluster.sites[to].number;
    let site = &mut cluster.sites[from];
    for peer in site.config.peers.iter_mut().filter(|peer| peer.id == number) {
        peer.addresses = vec![relay.address.to_string()];
    }
    std::fs::write(site.path(), site.config.to_toml())?;
    Ok(relay)
}

/// Every kind of wrong certificate, at the links' port and at the sessions'.
async fn certificates(cluster: &Cluster) -> Verdict<u64> {
    let site = &cluster.sites[0];
    let (link, session) = (site.config.site.link, at(site.port("session").await?));
    let ca = cluster.folder.join("ca");
    let ours = Authority::load(&ca.join("ca.pem"), &ca.join("ca.key"))?;
    let other = Authority::generate(ours.cluster(), Validity::days(1))?;
    let trust = Trust::new(ours.cluster(), &[ours.certificate()])?;
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    let past = Validity { from: now - 3 * hour, until: now - hour };
    let future = Validity { from: now + hour, until: now + 3 * hour };
    let day = || Validity::days(1);
    let three = Role::Site(SiteId(3));
    let revoked = ours.issue(three, "site-3", day())?;
    let revoked_client = ours.issue(Role::Client, "client", day())?;
    revoke(site, &[&revoked, &revoked_client])?;

    let as_site = |n| Some(Says { cluster: ours.cluster(), site: SiteId(n) });
    let cases: Vec<(SocketAddr, Option<Identity>, Option<Says>, &str)> = vec![
        (link, None, as_site(3), "no_certificate"),
        (link, Some(other.issue(three, "site-3", day())?), as_site(3), "other_authority"),
        (link, Some(ours.issue(three, "site-3", past)?), as_site(3), "expired"),
        (link, Some(ours.issue(three, "site-3", future)?), as_site(3), "not_yet_valid"),
        (link, Some(revoked), as_site(3), "revoked"),
        (link, Some(ours.issue(Role::Client, "client", day())?), as_site(3), "wrong_role"),
        (link, Some(ours.issue(Role::Administrator, "admin", day())?), as_site(3), "wrong_role"),
        (link, Some(ours.issue(three, "site-3", day())?), as_site(2), "wrong_site"),
        (link, Some(ours.issue(Role::Site(SiteId(1)), "site-1", day())?), as_site(1), "wrong_site"),
        (session, None, None, "no_certificate"),
        (session, Some(other.issue(Role::Client, "client", day())?), None, "other_authority"),
        (session, Some(ours.issue(Role::Client, "client", past)?), None, "expired"),
        (session, Some(revoked_client), None, "revoked"),
        (session, Some(ours.issue(three, "site-3", day())?), None, "wrong_role"),
    ];
    let mut count = 0;
    // The file of revocations is looked at once a second: the first who shows one proves that it was.
    for (address, identity, says, reason) in &cases {
        let name = format!("unanimous_net_refused_total{{reason=\"{reason}\"}}");
        let before = site.metric(&name).await?;
        eventually(&format!("{reason} is counted at {address}"), async || {
            intrude(*address, identity.as_ref(), &trust, *says).await.ok()?;
            (site.metric(&name).await.ok()? > before).then_some(())
        })
        .await?;
        count += site.metric(&name).await? - before;
    }
    Ok(count)
}

/// A client whose certificate is revoked while it is at work is told so, and its member fails. Gives one that sees that.
async fn open_session(cluster: &Cluster) -> Verdict<(Member, u64)> {
    let site = &cluster.sites[0];
    let ca = cluster.folder.join("ca");
    let authority = Authority::load(&ca.join("ca.pem"), &ca.join("ca.key"))?;
    let identity = authority.issue(Role::Client, "client", Validity::days(1))?;
    let trust = Trust::new(authority.cluster(), &[authority.certificate()])?;
    let config = net::tls::client_config(&identity, &trust, Expect::AnySite)?;
    let endpoint = at(site.port("session").await?).to_string();
    let address = Address::Tls(Tls { endpoint, config: Some(config) });
    let member = Member::join(&address, "cut", "client").await?;
    member.log.view_of(1).await?;
    let name = "unanimous_net_refused_total{reason=\"revoked\"}";
    let before = site.metric(name).await?;
    revoke(site, &[&identity])?;
    eventually("the open session is cut", async || {
        let refused = member.session.view("cut").await.err()?;
        matches!(&refused, Error::Expelled(why) if why.error == ErrorCode::Revoked).then_some(())
    })
    .await?;
    let observer = Member::join(&cluster.sites[1].address(), "cut", "observer").await?;
    observer.log.view_of(1).await?;
    Ok((observer, site.metric(name).await? - before))
}

fn revoke(site: &Site, identities: &[&Identity]) -> Verdict {
    let mut file = std::fs::File::create(site.config.site.certificates.join("revoked"))?;
    for identity in identities {
        writeln!(file, "{} # by the harness", identity.serial())?;
    }
    Ok(())
}

/// Bytes that mean nothing, at every port and at the socket.
async fn garbage(site: &Site) -> Verdict<u64> {
    let (link, session, metrics) =
        (site.config.site.link, at(site.port("session").await?), at(site.port("metrics").await?));
    let pieces: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: site\r\n\r\n",
        &[0xff; 4_096],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        b"{}\n",
        &[0; 70_000],
    ];
    let not_tls = "unanimous_net_refused_total{reason=\"not_tls\"}";
    let (sessions, scrapes) = ("unanimous_sessions_refused_total", "unanimous_scrapes_refused_total");
    let mut count = 0;
    for piece in pieces {
        for (address, counter) in [(link, not_tls), (session, not_tls), (metrics, scrapes)] {
            count +=
                counted(site, counter, async || throw(TcpStream::connect(address).await.ok(), piece).await)
                    .await?;
        }
        let socket = &site.config.site.session;
        count += counted(site, sessions, async || throw(UnixStream::connect(socket).await.ok(), piece).await)
            .await?;
    }
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    for (bytes, counter) in [
        (0, "unanimous_net_probes_malformed_total"),
        (1, "unanimous_net_probes_malformed_total"),
        (31, "unanimous_net_probes_malformed_total"),
        (200, "unanimous_net_probes_unknown_key_total"),
        (9_000, "unanimous_net_probes_malformed_total"),
    ] {
        count += counted(site, counter, async || drop(udp.send_to(&vec![0xa5; bytes], link).await)).await?;
    }
    Ok(count)
}

/// Does it until the counter has risen; gives by how much.
async fn counted(site: &Site, counter: &str, mut provoke: impl AsyncFnMut()) -> Verdict<u64> {
    let before = site.metric(counter).await?;
    eventually(&format!("{counter} of site {} rises", site.number), async || {
        provoke().await;
        let now = site.metric(counter).await.ok()?;
        (now > before).then_some(now - before)
    })
    .await
}

/// Writes and reads until it is thrown out.
async fn throw<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: Option<S>, bytes: &[u8]) {
    let Some(mut stream) = stream else { return };
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    // Who reads everything away without an answer is let go, too.
    let _ = tokio::time::timeout(Duration::from_secs(6), stream.read_to_end(&mut Vec::new())).await;
}

/// Datagrams of the sites' own, changed, and said again.
async fn probes(site: &Site, relays: &[Relay; 2]) -> Verdict<u64> {
    let link = site.config.site.link;
    // Site 2 sends to site 1 over the connection that either of them dialed.
    let last =
        || [relays[1].there(), relays[0].back()].into_iter().flatten().max().map(|(_, datagram)| datagram);
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut count = 0;
    for (counter, change) in
        [("unanimous_net_probes_replayed_total", false), ("unanimous_net_probes_forged_total", true)]
    {
        count += counted(site, counter, async || {
            let Some(mut datagram) = last() else { return };
            if change && let Some(last) = datagram.last_mut() {
                *last ^= 1;
            }
            let _ = udp.send_to(&datagram, link).await;
        })
        .await?;
    }
    Ok(count)
}

/// A thousand connections that say nothing, at each port; meanwhile those who are expected get in.
async fn half_open(site: &Site) -> Verdict<u64> {
    let ports = [site.config.site.link, at(site.port("session").await?), at(site.port("metrics").await?)];
    let counter = "unanimous_net_refused_total{reason=\"half_open_limit\"}";
    let before = site.metric(counter).await?;
    let mut held = Vec::new();
    for port in ports {
        for _ in 0..HALF_OPEN {
            held.push(TcpStream::connect(port).await?);
        }
    }
    // A session and a scrape get through at once.
    site.status()
        .await
        .ok_or_else(|| std::io::Error::other("no session gets through half-open connections"))?;
    let now = site.metric(counter).await?;
    ensure(now > before, || "half-open connections are not counted".to_owned())?;
    drop(held);
    Ok(now - before)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The sites are this process's children and get its limit.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

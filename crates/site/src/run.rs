//! Bringing a site up, and taking it down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::step::Peer;
use net::disk::Held;
use net::{Disk, Expect, Links, Lobby, Shown, Trust};
use stack::Node;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wire::version::Hello;
use wire::{Bugs, ClusterEpoch, SiteId};

use crate::absences::Absences;
use crate::acquire;
use crate::certificates::{self, InForce};
use crate::clocks::Clocks;
use crate::config::SiteConfig;
use crate::core::{Core, Ended, World};
use crate::directory::{Directory, Greeting, Learned, configured};
use crate::handle::Handle;
use crate::hosting::Hosting;
use crate::levels::{Levels, Unsupported};
use crate::metrics::{self, Measured, Metrics};
use crate::notify;
use crate::outlook::Outlook;
use crate::revoked;
use crate::running::Running;
use crate::service::Services;
use crate::session;

/// Why a site could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Disk(#[from] net::DiskError),
    /// Certificates.
    #[error("{0}; `unanimous init` makes certificates")]
    Certificates(#[from] net::cert::CertError),
    /// The certificate is another's.
    #[error("the certificate in {path} is not that of {site} of this cluster")]
    WrongCertificate {
        /// Where it is.
        path: PathBuf,
        /// Which site it should be.
        site: String,
    },
    /// The certificate's name has a number already.
    #[error(
        "the name {name} has a number already: another site has it, or this site's data directory was lost; make \
         another under a new name with `unanimous site add`"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Nobody to ask for a number.
    #[error("site.id is missing, and there is no [[peer]] to ask for a number")]
    NoPeers,
    /// Links.
    #[error(transparent)]
    Links(#[from] net::links::StartError),
    /// What the site promised can't be read.
    #[error(transparent)]
    Node(#[from] stack::StartError),
    /// A listener.
    #[error("can't listen for {what} at {address}: {cause}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The cluster's feature level is one that this program does not have.
    #[error(transparent)]
    Level(#[from] Unsupported),
    /// The list of revoked certificates can't be read: to go on without it would let them in.
    #[error("{path}: {problem}; it lists serial numbers in hexadecimal, one a line")]
    Revoked {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The data directory can't be written.
    #[error("can't write to {path}: {cause}")]
    Data {
        /// Which directory.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
}

/// How a site ended.
#[derive(Debug)]
pub enum Stopped {
    /// In order.
    InOrder,
    /// It found that this site had another store before, whose lives were above its own. Its data directory says so now;
    /// started again at once, it joins.
    StartAgain,
    /// It had to; the line says why and what to do.
    Failed(String),
}

/// A site that runs.
#[derive(Debug)]
pub struct RunningSite {
    handle: Handle,
    ports: BTreeMap<String, u16>,
    core: JoinHandle<Ended>,
    servers: Vec<JoinHandle<()>>,
    data: PathBuf,
}

/// Brings a site up: when this returns it listens, and it is on its way into the cluster.
///
/// # Errors
///
/// Nothing is left running. The incarnation may have been raised, which does no harm.
pub async fn start(config: SiteConfig) -> Result<RunningSite, StartError> {
    start_with(config, Services::default()).await
}

/// The same, with what the program brings to it.
///
/// # Errors
///
/// As [`start`].
pub async fn start_with(config: SiteConfig, mut services: Services) -> Result<RunningSite, StartError> {
    let net_metrics = Arc::new(net::Metrics::default());
    let (inputs_in, inputs) = net::inputs();
    let (files, trust) = certificates::load(&config)?;
    let shown = Shown::new(&files.identity)?;
    let (disk, opened) = Disk::open(&config.site.data, inputs_in.clone(), Arc::clone(&net_metrics))?;
    for path in &opened.mended {
        tracing::warn!(path = %path.display(), "a damaged copy of the record was mended from the other");
    }
    let levels = Arc::new(Levels::open(&config.site.data, config.site.feature_level_max)?);
    levels.check()?;
    let seed = opened.store.0 ^ opened.incarnation.0.rotate_left(32);
    let site = match config.site.id {
        0 => acquire::number(&config, &Arc::new(files.identity), &trust, seed).await?,
        id => SiteId(id),
    };
    let directory = Arc::new(Directory::open(&config, site)?);
    let me = Peer { site, incarnation: opened.incarnation, store: opened.store };
    let epoch = opened.recovered.as_ref().map_or(ClusterEpoch(0), |recovered| recovered.epoch);
    let founders = opened.recovered.map_or_else(|| config.founder_ids(), |recovered| recovered.founders);
    let mut hello = Hello::new(config.cluster_id(), epoch.0, me.life(), me.store, &config.site.name);
    (hello.feature_level_min, hello.feature_level_max) = {
        let (lowest, highest) = levels.supported().into_inner();
        (Some(lowest), highest)
    };
    hello.start = Some(net::random() as u64);
    let greeting = Arc::new(Greeting::new(hello, Arc::clone(&directory), Arc::clone(&levels)));
    let links = Links::start(
        net::Config::new(config.site.link),
        (site, &shown),
        Arc::clone(&trust),
        Arc::clone(&greeting) as Arc<dyn net::Hello>,
        inputs_in,
        Arc::clone(&net_metrics),
    )
    .await?;
    let addresses = addresses(&config, links.address());
    if config.site.id == 0 {
        greeting.set_addresses(addresses.clone(), config.site.mserver);
    }
    let clock = net::Clock::start();
    let record = opened.record.map(Bytes::from);
    let node = Node::start(
        node_config(&config, me, (epoch, founders), (addresses, &directory.learned())),
        record.as_ref(),
        clock.now(),
        seed,
    )?;
    let peers = configured(&config);
    links.set_peers(peers.clone());

    let metrics = Arc::new(Metrics::default());
    let (handle, commands) = Handle::channel(services.requests.take());
    let mut ports = std::mem::take(&mut services.ports);
    ports.insert("link".to_owned(), links.address().port());
    let mut servers = vec![tokio::spawn(Arc::clone(&directory).keep(links.clone(), peers))];
    let clocks = Arc::new(Clocks::new(clock, links.clone()));
    let asking = Arc::clone(&clocks);
    servers.push(tokio::spawn(async move { asking.ask().await }));
    let absences = Arc::new(Absences::open(&config.site.data, links.clone())?);
    let outlook = Arc::new(Outlook {
        me: site,
        shown: Arc::clone(&shown),
        trust: Arc::clone(&trust),
        links: links.clone(),
        clocks: Arc::clone(&clocks),
        absences: Arc::clone(&absences),
        levels: Arc::clone(&levels),
    });
    servers.push(tokio::spawn(absences.watch(handle.clone())));
    let measured = Arc::new(Measured {
        metrics: Arc::clone(&metrics),
        net: Arc::clone(&net_metrics),
        outlook,
        handle: handle.clone(),
    });
    serve_sessions(&config, (&shown, &trust, links.lobby()), &measured, &mut ports, &mut servers)?;
    let folder = config.site.certificates.clone();
    servers.push(tokio::spawn(revoked::watch(folder.clone(), Arc::clone(&trust), links.clone())));
    let in_force = InForce { folder, shown, trust, links: links.clone(), metrics: Arc::clone(&net_metrics) };
    servers.push(tokio::spawn(in_force.watch()));
    if let Some(address) = config.site.metrics {
        let listener = listen(links.lobby(), "metrics", address)?;
        ports.insert("metrics".to_owned(), port(&listener));
        let server = watch_over("metrics", metrics::serve(listener, measured));
        servers.push(links.lobby().spawn(server));
    }
    let slow_member_after = Duration::from_secs(config.limits.slow_member_s);
    let settings = durable::Settings {
        checkpoint_bytes: config.limits.checkpoint_bytes,
        retain_entries: config.limits.retain_entries,
        ..durable::Settings::default()
    };
    let root = config.site.data.join("durable");
    let hosting = Hosting::new(me, root, net::random(), levels, (settings, services));
    let world = World {
        clock,
        links,
        disk,
        inputs,
        directory,
        refusals: net_metrics,
        clocks,
        hosting,
        fresh: opened.fresh,
    };
    let core = Core::new(node, world, (&handle, commands), metrics, slow_member_after);
    let core = tokio::spawn(core.run());
    let data = config.site.data.clone();
    Running { pid: std::process::id(), ports: ports.clone() }
        .write(&data)
        .map_err(|cause| StartError::Data { path: data.clone(), cause })?;
    tracing::info!(site = config.site.name, life = %me.life(), "started");
    notify::tell("READY=1");
    Ok(RunningSite { handle, ports, core, servers, data })
}

impl RunningSite {
    /// A way to speak to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Its ports, by what they serve.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    /// Leaves the cluster in order and stops.
    pub async fn stop(self) -> Stopped {
        notify::tell("STOPPING=1");
        // If the loop is gone already, there is nothing left to ask.
        let _ = self.handle.stop().await;
        self.stopped().await
    }

    /// Returns when the site has stopped, by itself or because a session asked for it. Cancel-safe up to then.
    pub async fn stopped(mut self) -> Stopped {
        self.wait().await
    }

    /// As [`RunningSite::stopped`], without giving up the site; call it again only if it did not return.
    pub async fn wait(&mut self) -> Stopped {
        let ended = (&mut self.core).await;
        for server in self.servers.drain(..) {
            server.abort();
        }
        Running::remove(&self.data);
        match ended {
            Ok(Ended::InOrder) => Stopped::InOrder,
            Ok(Ended::Disk(error)) => Stopped::Failed(error.to_string()),
            Ok(Ended::Store(why)) => {
                Stopped::Failed(format!("{why}; start the site again: it recovers from its disk"))
            }
            Ok(Ended::Outlived(life)) => match Held::open(&self.data).and_then(|held| held.outlive(life)) {
                Ok(()) => Stopped::StartAgain,
                Err(error) => Stopped::Failed(error.to_string()),
            },
            Ok(Ended::Surpassed) => Stopped::Failed(format!(
                "{} is an old copy of this site's data: move it away and start again; the site joins anew",
                self.data.display()
            )),
            Ok(Ended::Level(why)) => Stopped::Failed(why.to_string()),
            Err(panic) => Stopped::Failed(format!(
                "an invariant is violated ({panic}); the site stops rather than go on; its log has the place, and \
                 it recovers from its disk when it is started again"
            )),
        }
    }
}

fn node_config(
    config: &SiteConfig,
    me: Peer,
    (epoch, founders): (ClusterEpoch, Vec<SiteId>),
    (addresses, learned): (Vec<String>, &[Learned]),
) -> stack::Config {
    let known = config.peers.iter().map(|peer| (SiteId(peer.id), peer.name.clone()));
    let mservers = config.peers.iter().filter(|peer| peer.mserver).map(|peer| SiteId(peer.id));
    stack::Config {
        cluster: config.cluster_id(),
        cluster_epoch: epoch.0,
        me,
        name: config.site.name.clone(),
        founders,
        known: known.chain(learned.iter().map(|site| (site.site, site.name.clone()))).collect(),
        mservers: mservers.chain(learned.iter().filter(|site| site.mserver).map(|site| site.site)).collect(),
        addresses,
        mserver: config.site.mserver,
        window_bytes_max: config.limits.window_bytes,
        slow_member_after: Duration::from_secs(config.limits.slow_member_s),
        link: stack::LinkConfig::default(),
        detection_max: Duration::from_millis(config.limits.detection_ms),
        bugs: Bugs::NONE,
        trace: false,
    }
}

/// Where others reach this site.
fn addresses(config: &SiteConfig, link: SocketAddr) -> Vec<String> {
    match config.site.addresses.is_empty() {
        true => vec![link.to_string()],
        false => config.site.addresses.clone(),
    }
}

fn serve_sessions(
    config: &SiteConfig,
    (shown, trust, lobby): (&Arc<Shown>, &Arc<Trust>, &Lobby),
    measured: &Measured,
    ports: &mut BTreeMap<String, u16>,
    servers: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartError> {
    let site = Arc::new(session::Site {
        handle: measured.handle.clone(),
        name: config.site.name.clone(),
        cluster: config.cluster.clone(),
        own_uid: rustix::process::getuid().as_raw(),
        users: config.site.users.iter().map(|user| (user.uid, user.may)).collect(),
        metrics: Arc::clone(&measured.metrics),
        refusals: Arc::clone(&measured.net),
        trust: Arc::clone(trust),
        outlook: Arc::clone(&measured.outlook),
        gate: net::Gate::new(session::HALF_OPEN_MAX, u32::MAX),
        backups: Arc::new(Semaphore::new(session::BACKUPS_MAX)),
    });
    let places = Arc::new(Semaphore::new(config.limits.sessions));
    let path = &config.site.session;
    let listener = session::bind(path, !config.site.users.is_empty()).map_err(|cause| {
        StartError::Listen { what: "sessions", address: path.display().to_string(), cause }
    })?;
    let server = session::serve(listener, Arc::clone(&site), Arc::clone(&places));
    servers.push(tokio::spawn(watch_over("sessions", server)));
    if let Some(address) = config.site.remote_session {
        let listener = listen(lobby, "remote sessions", address)?;
        ports.insert("session".to_owned(), port(&listener));
        let tls = net::tls::accepting(shown, trust, Expect::Session)?;
        let server = session::serve_remote(listener, tls.into(), site, places, runtime::Handle::current());
        servers.push(lobby.spawn(watch_over("remote sessions", server)));
    }
    Ok(())
}

fn listen(lobby: &Lobby, what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = lobby.listen(address);
    bound.map_err(|cause| StartError::Listen { what, address: address.to_string(), cause })
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

/// Says so if a server ends.
async fn watch_over(what: &'static str, server: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "the server for {what} has ended; restart the site");
    }
}

//! A cluster of real site processes, made by `unanimous init`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use unanimous::SiteConfig;

use super::hosts::Hosts;
use super::run::Run;
use super::site::Site;
use super::verdict::{Verdict, ensure, eventually};

pub struct Cluster {
    /// Site 1 first.
    pub sites: Vec<Site>,
    /// Where `ca` and the sites' folders are.
    pub folder: PathBuf,
}

impl Cluster {
    /// So many sites on loopback, none of them started.
    pub async fn on_loopback(run: &Run, count: usize, change: impl Fn(&mut SiteConfig)) -> Verdict<Cluster> {
        let addresses = net::ports::free_addresses(count)?;
        Cluster::make(run, &addresses, &[], |config, address| {
            config.site.link = address;
            config.site.metrics = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            change(config);
        })
        .await
    }

    /// One site in each host.
    pub async fn in_hosts(run: &Run, hosts: &Hosts, change: impl Fn(&mut SiteConfig)) -> Verdict<Cluster> {
        let addresses: Vec<SocketAddr> =
            (0..hosts.count()).map(|i| SocketAddr::from((hosts.address(i), 7_400))).collect();
        let namespaces: Vec<String> = (0..hosts.count()).map(|i| hosts.namespace(i).to_owned()).collect();
        Cluster::make(run, &addresses, &namespaces, |config, _| change(config)).await
    }

    async fn make(
        run: &Run,
        addresses: &[SocketAddr],
        namespaces: &[String],
        change: impl Fn(&mut SiteConfig, SocketAddr),
    ) -> Verdict<Cluster> {
        let folder = run.folder()?.join(format!("cluster-{}", run.below(u64::MAX)));
        let founders = addresses.iter().enumerate().map(|(i, at)| format!("site-{}={at}", i + 1));
        let made =
            Command::new(run.program()).args(["init", "--out"]).arg(&folder).args(founders).output().await?;
        ensure(made.status.success(), || format!("init: {}", String::from_utf8_lossy(&made.stderr)))?;
        let mut sites = Vec::new();
        for (number, address) in (1..).zip(addresses) {
            let path = folder.join(format!("site-{number}")).join("site.toml");
            let mut config = SiteConfig::read(&path)?;
            change(&mut config, *address);
            let namespace = namespaces.get(number as usize - 1).cloned();
            sites.push(Site::new(number, path, config, run.program(), namespace)?);
        }
        Ok(Cluster { sites, folder })
    }

    /// Starts every site and waits for one view of all, in which all are members of the catalog: what comes then is not
    /// of the sites' own making.
    pub async fn start(&mut self) -> Verdict {
        for site in &mut self.sites {
            site.start()?;
        }
        for site in &self.sites {
            eventually(&format!("site {} is in the catalog", site.number), async || {
                let status = site.status().await?;
                let groups = status.get("durable")?.as_array()?;
                let active = |group: &serde_json::Value| group["state"] == "active";
                groups.iter().any(active).then_some(())
            })
            .await?;
        }
        self.whole().await.map(drop)
    }

    /// Waits until every site has one primary view that lists all; gives its id.
    pub async fn whole(&self) -> Verdict<String> {
        let all: Vec<usize> = (0..self.sites.len()).collect();
        self.one_view_of(&all).await
    }

    /// Waits until these sites have one primary view that lists exactly them; gives its id.
    pub async fn one_view_of(&self, who: &[usize]) -> Verdict<String> {
        eventually(
            &format!("one primary view of the sites {:?}", who.iter().map(|i| i + 1).collect::<Vec<_>>()),
            async || {
                let mut views = Vec::new();
                for &i in who {
                    let status = self.sites[i].status().await?;
                    let up = status
                        .get("sites")?
                        .as_array()?
                        .iter()
                        .filter(|site| site.get("rank").is_some_and(|rank| rank.is_u64()));
                    if up.count() != who.len() || status.get("primary")?.as_bool() != Some(true) {
                        return None;
                    }
                    views.push(status.get("view")?.as_str()?.to_owned());
                }
                views.dedup();
                (views.len() == 1).then(|| views.remove(0))
            },
        )
        .await
    }

    /// Waits until the sites are at rest: for a while, in which nothing is done to them, nobody makes views.
    pub async fn rests(&self) -> Verdict {
        eventually("two seconds without a view", async || {
            let before = self.sites[0].status().await?.get("position")?.as_u64()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = self.sites[0].status().await?.get("position")?.as_u64()?;
            (before == after).then_some(())
        })
        .await
    }

    /// Fails if a site has died though nobody killed it.
    pub fn check_alive(&mut self) -> Verdict {
        self.sites.iter_mut().try_for_each(Site::check_alive)
    }
}

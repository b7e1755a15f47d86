//! Metrics in Prometheus text on a loopback port.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use net::Gate;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::handle::Handle;
use crate::outlook::Outlook;

/// Scrapes at once; a new one pushes out the oldest, so that nobody who only connects keeps others out.
const SCRAPES_MAX: usize = 32;
/// A request must come whole within this time and this many bytes.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// What the site's loop must say within this time, or it is left out.
const SITES_WITHIN: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// What the site's loop counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) packets: Counter,
    pub(crate) packets_refused: Counter,
    pub(crate) delivered: Counter,
    pub(crate) view_changes: Counter,
    pub(crate) group_views: Counter,
    pub(crate) hung: Counter,
    pub(crate) slow: Counter,
    pub(crate) core_members: Gauge,
    pub(crate) primary: Gauge,
    pub(crate) sessions_refused: Counter,
    pub(crate) scrapes_refused: Counter,
}

impl Metrics {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("unanimous");
        registry.register("packets", "Packets taken from other sites", self.packets.clone());
        registry.register("packets_refused", "Packets refused", self.packets_refused.clone());
        registry.register("messages_delivered", "Messages delivered to groups here", self.delivered.clone());
        registry.register("views", "Views of the core-set installed", self.view_changes.clone());
        registry.register("group_views", "Views of groups installed", self.group_views.clone());
        registry.register(
            "members_hung",
            "Members taken out of their groups because their programs did not take their events",
            self.hung.clone(),
        );
        registry.register(
            "members_slow",
            "Members asked to leave because they held back casts of this site",
            self.slow.clone(),
        );
        registry.register("core_members", "Sites in the core-set's view", self.core_members.clone());
        let refused = "Sessions refused after they were connected: no hello, or not allowed";
        registry.register("sessions_refused", refused, self.sessions_refused.clone());
        let refused = "Requests to this port that were none, came too slowly, or were too many at once";
        registry.register("scrapes_refused", refused, self.scrapes_refused.clone());
        registry.register("primary", "1 if this site's view is on the primary line", self.primary.clone());
        registry
    }
}

/// Serves scrapes until the listener fails.
pub(crate) async fn serve(listener: TcpListener, measured: Arc<Measured>) -> std::io::Result<()> {
    let gate = Arc::new(Gate::new(SCRAPES_MAX, 1));
    loop {
        let (stream, _) = listener.accept().await?;
        let (measured, gate) = (Arc::clone(&measured), Arc::clone(&gate));
        tokio::spawn(async move {
            let (_place, pushed_out) = gate.enter();
            let answered = tokio::select! {
                answered = tokio::time::timeout(REQUEST_WITHIN, answer(stream, &measured)) => answered.unwrap_or(false),
                Ok(()) = pushed_out => false,
            };
            if !answered {
                measured.metrics.scrapes_refused.inc();
            }
        });
    }
}

/// Whether it was a request that has an answer. Who goes away before it is whole, or before it is answered, made none.
async fn answer(mut stream: TcpStream, measured: &Measured) -> bool {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return false;
        }
    }
    let (found, status, body) = match request.split(|&byte| byte == b' ').nth(1) {
        Some(b"/metrics") if request.starts_with(b"GET ") => (true, "200 OK", measured.text().await),
        _ => (false, "404 Not Found", "metrics are at /metrics\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let written = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    written.await.is_ok() && found
}

/// All that is measured.
pub(crate) struct Measured {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) net: Arc<net::Metrics>,
    pub(crate) outlook: Arc<Outlook>,
    pub(crate) handle: Handle,
}

impl Measured {
    async fn text(&self) -> String {
        let mut out = text(&self.metrics, &self.net);
        // A site that is going down says nothing any more, and one that hangs is looked at all the more.
        if let Ok(Ok(sites)) = tokio::time::timeout(SITES_WITHIN, self.handle.sites()).await {
            self.outlook.write_metrics(&mut out, &sites);
        }
        out.push_str("# EOF\n");
        out
    }
}

fn text(metrics: &Metrics, net: &net::Metrics) -> String {
    let mut out = String::new();
    // Writing to memory does not fail.
    let _ = encode(&mut out, &metrics.registry());
    let end = out.rfind("# EOF").unwrap_or(out.len());
    out.truncate(end);
    net.each(|name, help, value| {
        let _ = write!(out, "# HELP unanimous_net_{name} {help}\n# TYPE unanimous_net_{name} counter\n");
        let _ = writeln!(out, "unanimous_net_{name}_total {value}");
    });
    let _ = write!(
        out,
        "# HELP unanimous_net_refused Peers refused, by reason\n# TYPE unanimous_net_refused counter\n"
    );
    for (reason, count) in net.refusals() {
        let _ = writeln!(out, "unanimous_net_refused_total{{reason=\"{}\"}} {count}", reason.label());
    }
    out
}

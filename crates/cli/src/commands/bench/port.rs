//! A member's way to its group: inside the site's process, or through the session socket with the library that
//! other programs use.

use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use stack::CastOptions;
use unanimous::session::Address;
use unanimous::{Event, Group, GroupName, MemberId};

use super::GROUP;

/// A cast on its way into the site; it is done when the site has taken it.
pub type Casting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What the group tells.
#[derive(Debug)]
pub enum Told {
    /// A view: how many members, and which of them this one is.
    View {
        /// How many.
        members: usize,
        /// This one's rank.
        rank: Option<usize>,
    },
    /// A message.
    Message {
        /// Whether this member cast it.
        own: bool,
        /// The message.
        payload: Bytes,
    },
    /// Nothing that counts here.
    Other,
}

/// One of the two ways.
pub enum Port {
    /// In the site's process.
    Site(Box<InSite>),
    /// Through the session socket.
    Session(InSession),
}

/// In the site's process.
pub struct InSite {
    /// Kept: the site lives as long as this.
    site: site::RunningSite,
    process: wire::ProcessId,
    group: GroupName,
    me: MemberId,
    events: site::Events,
}

/// Through the session socket.
pub struct InSession {
    group: Group,
    events: unanimous::Events,
}

impl Port {
    /// Starts the site in this process and joins.
    pub async fn in_site(config: site::SiteConfig) -> Result<Port, String> {
        let site = site::start(config).await.map_err(|error| error.to_string())?;
        let handle = site.handle();
        let (process, events) = handle.open().await.map_err(|error| error.to_string())?;
        let group = GroupName::parse(GROUP).map_err(|error| error.to_string())?;
        let me = loop {
            match handle.join(process, group.clone(), stack::JoinOptions::default()).await {
                Ok(me) => break me,
                Err(site::RequestError::Join(stack::JoinError::NotAdmitted)) => a_moment().await,
                Err(error) => return Err(error.to_string()),
            }
        };
        Ok(Port::Site(Box::new(InSite { site, process, group, me, events })))
    }

    /// Connects to the site's session socket and joins.
    pub async fn in_session(socket: &Path) -> Result<Port, String> {
        let address = Address::Unix(socket.to_owned());
        let process = loop {
            match unanimous::Site::connect(&address, "unanimous bench").await {
                Ok(process) => break process,
                Err(unanimous::Error::Unreachable { .. }) => a_moment().await,
                Err(error) => return Err(error.to_string()),
            }
        };
        let (group, events) = loop {
            match process.join(GROUP, unanimous::JoinOptions::default()).await {
                Ok(joined) => break joined,
                Err(unanimous::Error::Refused { code: wire::session::ErrorCode::NotAdmitted, .. }) => {
                    a_moment().await;
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        Ok(Port::Session(InSession { group, events }))
    }

    /// Casts these, one behind the other.
    pub fn cast(&self, options: &CastOptions, payloads: Vec<Bytes>) -> Casting {
        match self {
            Port::Site(port) => {
                let (handle, process) = (port.site.handle(), port.process);
                let (group, options) = (port.group.clone(), options.clone());
                Box::pin(async move {
                    let cast = handle.cast(process, group, options, payloads);
                    cast.await.map_err(|error| error.to_string())
                })
            }
            Port::Session(port) => {
                let (group, safe) = (port.group.clone(), options.safe);
                let order = order_of(options.order);
                Box::pin(async move {
                    let mut payloads = payloads.into_iter();
                    let Some(first) = payloads.next() else { return Ok(()) };
                    let cast = group.cast(first).order(order);
                    let cast = if safe { cast.safe() } else { cast };
                    cast.send_with(payloads).await.map_err(|error| error.to_string())
                })
            }
        }
    }

    /// What the group tells next. Cancel-safe.
    pub async fn next(&mut self) -> Result<Told, String> {
        match self {
            Port::Site(port) => match port.events.next().await {
                Some(event) => port.told(event),
                None => Err("the site has stopped".to_owned()),
            },
            Port::Session(port) => match port.events.next().await {
                Some(event) => port.told(event),
                None => Err("the session is over".to_owned()),
            },
        }
    }

    /// What the group tells next, if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Told, String>> {
        match self {
            Port::Site(port) => port.events.try_next().map(|event| port.told(event)),
            Port::Session(port) => port.events.try_next().map(|event| port.told(event)),
        }
    }
}

impl InSite {
    fn told(&self, event: site::ProcessEvent) -> Result<Told, String> {
        use site::ProcessEvent as E;
        match event {
            E::Message { from, payload, .. } => Ok(Told::Message { own: from == self.me, payload }),
            E::View { view, me, .. } => {
                let rank = view.members.iter().position(|member| Some(member.id) == me);
                Ok(Told::View { members: view.members.len(), rank })
            }
            E::Left { why, .. } => Err(format!("no longer in the group: {why}")),
            E::Signal { .. } | E::Blocked { .. } => Ok(Told::Other),
        }
    }
}

impl InSession {
    fn told(&self, event: Event) -> Result<Told, String> {
        match event {
            Event::Message(message) => {
                let own = Some(message.from) == self.group.member();
                Ok(Told::Message { own, payload: message.payload })
            }
            Event::View(view) => Ok(Told::View { members: view.members.len(), rank: view.rank() }),
            Event::Left { why } => Err(format!("no longer in the group: {why}")),
            _ => Ok(Told::Other),
        }
    }
}

fn order_of(order: multicast::Order) -> unanimous::Order {
    match order {
        multicast::Order::Mbcast => unanimous::Order::Mbcast,
        multicast::Order::Fbcast => unanimous::Order::Fbcast,
        multicast::Order::Cbcast => unanimous::Order::Cbcast,
        multicast::Order::Abcast => unanimous::Order::Abcast,
        multicast::Order::Gbcast => unanimous::Order::Gbcast,
    }
}

/// A site that is on its way into the cluster refuses for a moment; nothing tells a stranger when that ends.
async fn a_moment() {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}

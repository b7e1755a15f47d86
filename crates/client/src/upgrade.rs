//! Feature levels over a session.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::session::Op;

use crate::session::{Error, Session};

/// The feature level in force, and what the sites' programs have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// What is in force in the cluster.
    pub in_force: u32,
    /// The sites, as the one that was asked sees them.
    pub sites: Vec<SiteLevels>,
}

/// What a site's program has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLevels {
    /// The site's name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Whether it is in the view.
    pub up: bool,
    /// Whether it is linked with the site that was asked, or is that one. If not, its levels are those of before.
    pub linked: bool,
    /// The lowest level that it has, if it has ever said so.
    pub lowest: Option<u32>,
    /// The highest.
    pub highest: Option<u32>,
}

impl Session {
    /// Which feature level is in force, and which the sites have.
    pub async fn levels(&self) -> Result<Levels, Error> {
        let (result, _) = self.request(Op::Levels, Bytes::new()).await?;
        serde_json::from_value(Value::Object(result)).map_err(|error| Error::Protocol(error.to_string()))
    }

    /// Puts a feature level in force that all sites have; `force` passes those over that are not there. Gives the one in
    /// force.
    pub async fn raise_level(&self, to: u32, force: bool) -> Result<u32, Error> {
        let (result, _) = self.request(Op::RaiseLevel { to, force }, Bytes::new()).await?;
        let level =
            result.get("in_force").and_then(Value::as_u64).and_then(|level| u32::try_from(level).ok());
        level.ok_or_else(|| Error::Protocol("an answer without its level".to_owned()))
    }
}

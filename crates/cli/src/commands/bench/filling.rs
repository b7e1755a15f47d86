//! Filling a durable map with large values, and what of it is on the disk.

use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;
use unanimous::session::{Error, Session, WriteOptions};

use super::GROUP;
use crate::failure::Failure;

pub const GIB: f64 = (1 << 30) as f64;
/// Writes that are under way at once.
const FILLERS: usize = 16;

/// Keys with a value of so many bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    pub keys: u64,
    pub size: u32,
}

impl Filling {
    /// As many keys as make up a state of so many GiB.
    pub fn of(gib: f64, size: u32) -> Filling {
        Filling { keys: ((gib * GIB) as u64 / u64::from(size)).max(1), size }
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.keys * (u64::from(self.size) + key(0).len() as u64)
    }

    /// Writes every key, and then again from the first, until this says that it is enough: it is asked with how many were
    /// written, after each.
    pub async fn write<F: Future<Output = Result<bool, Failure>>>(
        &self,
        session: &Session,
        mut is_enough: impl FnMut(u64) -> F,
    ) -> Result<(), Failure> {
        let value = Bytes::from(vec![0x5a; self.size as usize]);
        let (mut writers, mut next) = (JoinSet::new(), 0);
        loop {
            let enough = next >= self.keys && is_enough(next).await?;
            while writers.len() >= FILLERS || (enough && !writers.is_empty()) {
                written(writers.join_next().await)?;
            }
            if enough {
                return Ok(());
            }
            let (session, value, name) = (session.clone(), value.clone(), key(next % self.keys));
            writers.spawn(async move { session.put(GROUP, &name, value, WriteOptions::default()).await });
            next += 1;
        }
    }
}

/// What a store's folder holds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Files {
    pub checkpoint_bytes: u64,
    pub log_bytes: u64,
    pub segments: u64,
}

/// The files of a store: those that count.
pub fn files_of(store: &Path) -> Result<Files, Failure> {
    let mut files = Files::default();
    for file in std::fs::read_dir(store)? {
        let file = file?;
        // One that has gone since counts for nothing.
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        match file.path().extension().and_then(|extension| extension.to_str()) {
            Some("ckp") => files.checkpoint_bytes += bytes,
            Some("seg") => {
                files.log_bytes += bytes;
                files.segments += 1;
            }
            _ => {}
        }
    }
    Ok(files)
}

/// The name of one of the keys.
pub fn key(n: u64) -> String {
    format!("key-{n:08}")
}

type Written = Result<Result<u64, Error>, tokio::task::JoinError>;

fn written(one: Option<Written>) -> Result<(), Failure> {
    match one {
        None | Some(Ok(Ok(_))) => Ok(()),
        Some(Ok(Err(error))) => Err(Failure::refused(format!("a write failed: {error}"))),
        Some(Err(error)) => Err(Failure::refused(error.to_string())),
    }
}

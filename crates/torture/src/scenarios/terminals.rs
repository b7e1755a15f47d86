//! Three `unanimous join chat` on a cluster that `unanimous up` runs. One site is killed: the other terminals print the
//! view without its member. It is started again as `up` says: its terminal joins anew, and all print one view.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::support::run::Run;
use crate::support::site::signal_process;
use crate::support::verdict::{Verdict, ensure, eventually, failed};

/// A program whose standard output is lines of JSON.
struct Talking {
    _process: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Talking {
    fn start(run: &Run, args: &[&str]) -> Verdict<Talking> {
        let mut command = Command::new(run.program());
        command.arg("--json").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // `up` stops its sites on SIGTERM, and they stop when it is killed.
        let mut process = command.kill_on_drop(true).spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let said = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&said);
        tokio::spawn(async move {
            let Some(output) = output else { return };
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        Ok(Talking { _process: process, input, said })
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn type_line(&mut self, line: &str) -> Verdict {
        match &mut self.input {
            Some(input) => Ok(input.write_all(format!("{line}\n").as_bytes()).await?),
            None => failed("no standard input"),
        }
    }

    fn texts(&self) -> Vec<String> {
        let text = |value: &Value| Some(value.get("text")?.as_str()?.to_owned());
        self.said().iter().filter_map(text).collect()
    }

    fn last_view(&self) -> Option<(String, Vec<Value>)> {
        let said = self.said();
        let view = said.iter().rev().find(|value| value["event"] == "view")?;
        Some((view.get("id")?.as_str()?.to_owned(), view.get("members")?.as_array()?.clone()))
    }
}

pub async fn run(run: &Run) -> Verdict {
    let folder = run.folder()?.join("up");
    let dir = folder.to_string_lossy().into_owned();
    let up = Talking::start(run, &["--dir", &dir, "up"])?;
    eventually("`up` is ready", async || up.said().iter().any(|said| said["event"] == "ready").then_some(()))
        .await?;
    let file: Value = serde_json::from_slice(&std::fs::read(folder.join("cluster.json"))?)?;
    let mut terminals = Vec::new();
    for site in file["sites"].as_array().into_iter().flatten() {
        let session = site["session"].as_str().unwrap_or_default();
        terminals.push(Talking::start(run, &["--site", session, "join", "chat"])?);
    }
    let first = one_view(&terminals, &[0, 1, 2], None).await?;
    exchange(&mut terminals, &[0, 1, 2], "before").await?;

    let pid = file["sites"][2]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    signal_process(pid, Signal::KILL)?;
    let second = one_view(&terminals, &[0, 1], Some(&first)).await?;
    exchange(&mut terminals, &[0, 1], "without").await?;

    let config = folder.join("site-3").join("site.toml");
    let _again = Talking::start(run, &["site", "--with-stdin", "--config", &config.to_string_lossy()])?;
    one_view(&terminals, &[0, 1, 2], Some(&second)).await?;
    exchange(&mut terminals, &[0, 1, 2], "again").await
}

/// Waits until these terminals have printed one view, not `old`, of just so many members.
async fn one_view(terminals: &[Talking], who: &[usize], old: Option<&str>) -> Verdict<String> {
    eventually(&format!("one view at the terminals {who:?}"), async || {
        let mut views = Vec::new();
        for &i in who {
            views.push(terminals[i].last_view().filter(|(_, members)| members.len() == who.len())?);
        }
        views.dedup();
        (views.len() == 1 && Some(views[0].0.as_str()) != old).then(|| views[0].0.clone())
    })
    .await
}

/// Each types lines; all print the same lines in the same order.
async fn exchange(terminals: &mut [Talking], who: &[usize], word: &str) -> Verdict {
    const LINES: usize = 20;
    for n in 0..LINES {
        for &i in who {
            terminals[i].type_line(&format!("{word} {i} {n}")).await?;
        }
    }
    let of = |i: usize, terminals: &[Talking]| {
        let mut texts = terminals[i].texts();
        texts.retain(|text| text.split(' ').next() == Some(word));
        texts
    };
    eventually(&format!("all lines of {who:?} at all"), async || {
        who.iter().all(|&i| of(i, terminals).len() >= LINES * who.len()).then_some(())
    })
    .await?;
    let all = of(who[0], terminals);
    ensure(all.len() == LINES * who.len(), || format!("{} lines, some of them twice", all.len()))?;
    for &i in who {
        ensure(of(i, terminals) == all, || format!("terminals {} and {i} printed different orders", who[0]))?;
    }
    Ok(())
}

//! The benched cluster: sites as real processes on loopback, or one in each of the given network namespaces.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::clock;
use super::talk::{Counted, Said, Task};
use crate::commands::certificates::{Founder, write_cluster};
use crate::failure::Failure;

/// How long a cluster may take to form, or a member to say what it counted after the end of a task.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port in a network namespace of one's own.
const PORT: u16 = 7_400;

/// Where the sites run.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// A network namespace for each; empty: here, on loopback.
    pub namespaces: Vec<String>,
    /// The address of each in its namespace.
    pub addresses: Vec<IpAddr>,
}

/// How the members run.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Through the session socket.
    pub session: bool,
    /// Worker threads of each process; 0: none but its only one.
    pub workers: usize,
}

/// A running cluster. Its processes end with it.
pub struct Cluster {
    members: Vec<Member>,
    manner: Manner,
    /// Declared last: removed when the processes are gone.
    _folder: Folder,
}

struct Member {
    config: PathBuf,
    namespace: Option<String>,
    /// The member, and the site if it is another process.
    processes: Vec<Child>,
    orders: Option<ChildStdin>,
    says: Option<Lines<BufReader<ChildStdout>>>,
    rank: Option<usize>,
}

impl Cluster {
    /// Starts so many sites and waits until all are in one view of the group.
    pub async fn start(sites: usize, places: &Places, manner: Manner) -> Result<Cluster, Failure> {
        let folder = Folder::make()?;
        let configs = write_cluster(&folder.0, &founders(sites, places)?, sites)?;
        let namespace = |i: usize| places.namespaces.get(i).cloned();
        let members = configs.into_iter().enumerate().map(|(i, config)| Member::new(config, namespace(i)));
        let mut cluster = Cluster { members: members.collect(), manner, _folder: folder };
        for i in 0..sites {
            cluster.restart(i).await?;
        }
        let all: Vec<usize> = (0..sites).collect();
        cluster.view_of(sites, &all).await?;
        Ok(cluster)
    }

    /// Starts a member, and its site if that is apart. What of it still ran is killed.
    pub async fn restart(&mut self, i: usize) -> Result<(), Failure> {
        let manner = self.manner.clone();
        self.members[i].start(&manner).await
    }

    /// Waits until each of these members has a view of so many. Gives when the last of them had it.
    pub async fn view_of(&mut self, members: usize, who: &[usize]) -> Result<Duration, Failure> {
        let mut last = Duration::ZERO;
        for &i in who {
            match self.members[i].view_of(members).await {
                Ok(at) => last = last.max(at),
                // What one waits for in vain may be another that has ended.
                Err(failure) => return Err(self.ended(who).unwrap_or(failure)),
            }
        }
        Ok(last)
    }

    /// The failure of one of these whose process has ended by itself, if there is one.
    fn ended(&mut self, who: &[usize]) -> Option<Failure> {
        let ended = |member: &mut Member| {
            member.processes.iter_mut().any(|process| matches!(process.try_wait(), Ok(Some(_))))
        };
        let found = who.iter().copied().find(|&i| ended(&mut self.members[i]))?;
        Some(self.members[found].failed("its process has ended"))
    }

    /// The members by rank.
    pub fn by_rank(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|&i| self.members[i].rank);
        order
    }

    /// Gives every member its task; gives what each counted, and what its processes used meanwhile.
    pub async fn run(&mut self, tasks: &[Task]) -> Result<Vec<Ran>, Failure> {
        let (started, before) = (clock::now(), self.processor_times());
        for (member, task) in self.members.iter_mut().zip(tasks) {
            member.order(task).await?;
        }
        let mut counted = Vec::new();
        for member in &mut self.members {
            counted.push(member.done().await?);
        }
        let elapsed = clock::now().saturating_sub(started).as_secs_f64();
        let after = self.processor_times();
        let ran = |(i, counted): (usize, Counted)| Ran {
            counted,
            processors: (after[i].saturating_sub(before[i])).as_secs_f64() / elapsed,
            peak_memory_bytes: self.members[i].pids().map(clock::peak_memory_bytes).sum(),
        };
        Ok(counted.into_iter().enumerate().map(ran).collect())
    }

    /// Kills a member and its site as a power cut would. Gives when.
    pub fn kill(&mut self, i: usize) -> Result<Duration, Failure> {
        let at = clock::now();
        for process in &mut self.members[i].processes {
            process.start_kill()?;
        }
        Ok(at)
    }

    /// The processes of a member.
    pub fn pids(&self, i: usize) -> Vec<u32> {
        self.members[i].pids().collect()
    }

    /// Where a member runs, if not here.
    pub fn namespace(&self, i: usize) -> Option<&str> {
        self.members[i].namespace.as_deref()
    }

    fn processor_times(&self) -> Vec<Duration> {
        self.members.iter().map(|member| member.pids().map(clock::processor_time).sum()).collect()
    }
}

/// What became of a member's task.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// What it counted.
    pub counted: Counted,
    /// Processors that its processes kept busy on average, warm-up included.
    pub processors: f64,
    /// The most memory that they had resident.
    pub peak_memory_bytes: u64,
}

impl Member {
    fn new(config: PathBuf, namespace: Option<String>) -> Member {
        Member { config, namespace, processes: Vec::new(), orders: None, says: None, rank: None }
    }

    async fn start(&mut self, manner: &Manner) -> Result<(), Failure> {
        // Until the process before is gone it holds the data directory.
        for mut process in self.processes.drain(..) {
            process.kill().await?;
        }
        self.rank = None;
        if manner.session {
            let mut site = self.command(&["site", "--with-stdin", "--config"])?;
            self.processes.push(site.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?);
        }
        let workers = manner.workers.to_string();
        let mut command = self.command(&["bench", "member", "--workers", &workers, "--config"])?;
        if manner.session {
            command.arg("--session");
        }
        let mut member = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        self.orders = member.stdin.take();
        self.says = member.stdout.take().map(|out| BufReader::new(out).lines());
        self.processes.push(member);
        Ok(())
    }

    /// This program again, with the member's configuration as last argument.
    fn command(&self, args: &[&str]) -> Result<Command, Failure> {
        let program = std::env::current_exe()?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        command.args(args).arg(&self.config).stderr(log).kill_on_drop(true);
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.config.with_file_name("log")
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().filter_map(Child::id)
    }

    async fn order(&mut self, task: &Task) -> Result<(), Failure> {
        let mut line = serde_json::to_string(task).map_err(|error| Failure::refused(error.to_string()))?;
        line.push('\n');
        let Some(orders) = &mut self.orders else { return Err(Failure::refused("a member is not running")) };
        Ok(orders.write_all(line.as_bytes()).await?)
    }

    async fn done(&mut self) -> Result<Counted, Failure> {
        match self.next().await? {
            Said::Done(counted) => Ok(counted),
            Said::View { .. } => Err(Failure::refused("the view changed during the run")),
            Said::Failed(why) => Err(self.failed(&why)),
        }
    }

    async fn view_of(&mut self, wanted: usize) -> Result<Duration, Failure> {
        loop {
            match self.next().await? {
                Said::View { at_ns, members, rank } if members == wanted => {
                    self.rank = rank;
                    return Ok(Duration::from_nanos(at_ns));
                }
                Said::View { .. } | Said::Done(_) => {}
                Said::Failed(why) => return Err(self.failed(&why)),
            }
        }
    }

    async fn next(&mut self) -> Result<Said, Failure> {
        let Some(says) = &mut self.says else { return Err(Failure::refused("a member is not running")) };
        let line = match tokio::time::timeout(PATIENCE, says.next_line()).await {
            Ok(line) => line?,
            Err(_) => return Err(self.failed("nothing was heard of it for a minute")),
        };
        let Some(line) = line else { return Err(self.failed("its process has ended")) };
        serde_json::from_str(&line).map_err(|error| self.failed(&error.to_string()))
    }

    /// The folder is about to be removed: the end of the log goes with the reason.
    fn failed(&self, why: &str) -> Failure {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().rev().take(5).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Failure::refused(format!("a member failed: {why}; the end of its log:\n  {last}"))
    }
}

pub fn founders(sites: usize, places: &Places) -> Result<Vec<Founder>, Failure> {
    let founder = |i: usize, listen: SocketAddr| Founder {
        name: format!("site-{}", i + 1),
        address: listen.to_string(),
        listen,
        metrics: None,
        mail: None,
    };
    if !places.namespaces.is_empty() {
        if places.namespaces.len() != sites || places.addresses.len() != sites {
            return Err(Failure::usage(format!("name {sites} namespaces and {sites} addresses")));
        }
        let at = |(i, address): (usize, &IpAddr)| founder(i, SocketAddr::new(*address, PORT));
        return Ok(places.addresses.iter().enumerate().map(at).collect());
    }
    let free = net::ports::free_addresses(sites)?;
    Ok(free.into_iter().enumerate().map(|(i, at)| founder(i, at)).collect())
}

/// A folder of the bench's own, removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one among the temporary files.
    pub fn make() -> Result<Folder, Failure> {
        Folder::make_in(&std::env::temp_dir())
    }

    /// Makes one in a folder.
    pub fn make_in(parent: &Path) -> Result<Folder, Failure> {
        let nonce = clock::now().as_nanos();
        let path = parent.join(format!("unanimous-bench-{}-{nonce}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

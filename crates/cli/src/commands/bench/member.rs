//! A member of the benched group, in a process of its own: it does the tasks that come on standard input, says on
//! standard output what it counted, and ends when its input does.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use stack::CastOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use unanimous::SiteConfig;

use super::clock::now;
use super::port::{Casting, Port, Told};
use super::summary::Summary;
use super::talk::{Counted, Load, Said, Task};
use crate::args;
use crate::failure::Failure;
use crate::output::say_json;

/// The first byte of a message that counts.
const DATA: u8 = b'D';
/// The first byte of a sender's last message.
const END: u8 = b'E';
/// Bytes that are handed to the site at once; at least one message is.
const CAST_BYTES_MAX: usize = 256 * 1024;
/// Deliveries between two looks at the clock.
const LOOK_EVERY: usize = 256;
/// Casts before latency counts.
const WARM_UP_CASTS: usize = 200;

/// `unanimous bench member`, which `bench` starts.
pub fn run(args: &args::BenchMember) -> Result<(), Failure> {
    crate::logging::to_standard_error();
    let config = SiteConfig::read(&args.config).map_err(|error| Failure::refused(error.to_string()))?;
    let mut builder = match args.workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(args.workers.max(1)).enable_all().build()?;
    let result = runtime.block_on(async {
        // On a worker, not on the thread that waits for it: there a wake-up is cheaper.
        let serving = tokio::spawn(serve(config, args.session));
        serving.await.unwrap_or_else(|panic| Err(panic.to_string()))
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(()),
        Err(why) => {
            say_json(&Said::Failed(why.clone()))?;
            Err(Failure::refused(why))
        }
    }
}

async fn serve(config: SiteConfig, session: bool) -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let joining = async {
        match session {
            true => Port::in_session(&config.site.session).await,
            false => Port::in_site(config).await,
        }
    };
    let port = tokio::select! {
        port = joining => port?,
        _ = lines.next_line() => return Ok(()),
    };
    let mut member =
        Member { port, delivered: 0, data: 0, cast: 0, own: 0, ends: 0, sent_at: VecDeque::new() };
    loop {
        tokio::select! {
            told = member.port.next() => drop(member.take(told?)?),
            line = lines.next_line() => {
                let Some(line) = line.map_err(|error| error.to_string())? else { return Ok(()) };
                let task: Task = serde_json::from_str(&line).map_err(|error| error.to_string())?;
                let counted = tokio::select! {
                    counted = member.run(&task) => counted?,
                    // Nothing is said during a task: the bench is gone.
                    _ = lines.next_line() => return Ok(()),
                };
                say(&Said::Done(counted))?;
            }
        }
    }
}

fn say(said: &Said) -> Result<(), String> {
    say_json(said).map_err(|failure| failure.message)
}

struct Member {
    port: Port,
    /// Messages that count, delivered so far.
    delivered: u64,
    /// Messages that count, cast so far.
    data: u64,
    /// Messages cast so far, ends included.
    cast: u64,
    /// Own messages delivered so far, ends included.
    own: u64,
    /// Senders that have ended the task.
    ends: usize,
    /// Of the first message of each batch: its number, and when it was cast.
    sent_at: VecDeque<(u64, Duration)>,
}

impl Member {
    async fn run(&mut self, task: &Task) -> Result<Counted, String> {
        let (load, counted) = match task {
            Task::Throughput(load) => (load, self.throughput(load).await?),
            Task::Latency(load) => (load, self.latency(load).await?),
        };
        self.ends -= load.senders;
        Ok(counted)
    }

    /// Keeps the window full until the time is up.
    async fn throughput(&mut self, load: &Load) -> Result<Counted, String> {
        let (from, to) = (Duration::from_nanos(load.from_ns), Duration::from_nanos(load.to_ns));
        let options = options(load)?;
        let message = message(DATA, load.size);
        let (mut counted, mut taken) = (0, Taken::default());
        let mut times = Vec::new();
        let mut casting: Option<Casting> = None;
        let mut ended = !load.casts;
        loop {
            let time = now();
            let counts = (from..to).contains(&time);
            for _ in 0..LOOK_EVERY {
                let Some(told) = self.port.try_next() else { break };
                taken += self.take(told?)?;
            }
            if counts {
                counted += taken.messages;
            }
            if taken.own > 0 {
                self.sample(time, counts, &mut times);
            }
            taken = Taken::default();
            if ended && casting.is_none() && self.ends >= load.senders {
                break;
            }
            if casting.is_none() && !ended {
                if time >= to {
                    casting = Some(self.port.cast(&options, vec![self::message(END, load.size)]));
                    self.cast += 1;
                    ended = true;
                } else {
                    let room = load.window - usize::try_from(self.cast - self.own).unwrap_or(load.window);
                    let count = room.min((CAST_BYTES_MAX / load.size).max(1));
                    if count > 0 {
                        self.sent_at.push_back((self.cast + 1, time));
                        casting = Some(self.port.cast(&options, vec![message.clone(); count]));
                        self.cast += count as u64;
                        self.data += count as u64;
                    }
                }
            }
            tokio::select! {
                biased;
                told = self.port.next() => taken += self.take(told?)?,
                done = finished(&mut casting), if casting.is_some() => {
                    done?;
                    casting = None;
                }
            }
        }
        self.sent_at.clear();
        Ok(self.counted(counted, &times))
    }

    /// Casts, waits for the message to come back, and casts again.
    async fn latency(&mut self, load: &Load) -> Result<Counted, String> {
        let options = options(load)?;
        let message = message(DATA, load.size);
        let mut times = Vec::with_capacity(load.casts_max);
        let casts = if load.casts { WARM_UP_CASTS + load.casts_max } else { 0 };
        for i in 0..casts {
            let time = now();
            self.data += 1;
            self.cast_one(&options, message.clone()).await?;
            if i >= WARM_UP_CASTS {
                times.push(now().saturating_sub(time));
            }
        }
        if load.casts {
            self.cast_one(&options, self::message(END, load.size)).await?;
        }
        while self.ends < load.senders {
            let told = self.port.next().await?;
            self.take(told)?;
        }
        Ok(self.counted(times.len() as u64, &times))
    }

    /// Casts one message and waits until it is delivered here.
    async fn cast_one(&mut self, options: &CastOptions, message: Bytes) -> Result<(), String> {
        let mut casting = Some(self.port.cast(options, vec![message]));
        self.cast += 1;
        while casting.is_some() || self.own < self.cast {
            tokio::select! {
                biased;
                told = self.port.next() => drop(self.take(told?)?),
                done = finished(&mut casting), if casting.is_some() => {
                    done?;
                    casting = None;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, told: Told) -> Result<Taken, String> {
        match told {
            Told::Message { own, payload } => {
                let data = payload.first() == Some(&DATA);
                self.delivered += u64::from(data);
                self.ends += usize::from(!data);
                self.own += u64::from(own);
                Ok(Taken { messages: u64::from(data), own: u64::from(own) })
            }
            Told::View { members, rank } => {
                let at_ns = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
                say(&Said::View { at_ns, members, rank })?;
                Ok(Taken::default())
            }
            Told::Other => Ok(Taken::default()),
        }
    }

    /// Notes how long the batches took whose first message has come back.
    fn sample(&mut self, time: Duration, counts: bool, times: &mut Vec<Duration>) {
        while let Some(&(number, at)) = self.sent_at.front() {
            if number > self.own {
                return;
            }
            self.sent_at.pop_front();
            if counts {
                times.push(time.saturating_sub(at));
            }
        }
    }

    fn counted(&self, delivered: u64, times: &[Duration]) -> Counted {
        Counted {
            delivered,
            delivered_in_all: self.delivered,
            cast_in_all: self.data,
            latency_us: Summary::in_us(times),
        }
    }
}

/// What some events brought.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    messages: u64,
    own: u64,
}

impl std::ops::AddAssign for Taken {
    fn add_assign(&mut self, other: Taken) {
        self.messages += other.messages;
        self.own += other.own;
    }
}

async fn finished(casting: &mut Option<Casting>) -> Result<(), String> {
    match casting {
        Some(casting) => casting.await,
        None => std::future::pending().await,
    }
}

fn message(kind: u8, size: usize) -> Bytes {
    let mut message = vec![kind; size.max(1)];
    message[1..].fill(0x5a);
    message.into()
}

fn options(load: &Load) -> Result<CastOptions, String> {
    let order = match load.order.as_str() {
        "mbcast" => multicast::Order::Mbcast,
        "fbcast" => multicast::Order::Fbcast,
        "cbcast" => multicast::Order::Cbcast,
        "abcast" => multicast::Order::Abcast,
        "gbcast" => multicast::Order::Gbcast,
        other => return Err(format!("{other:?} is no order")),
    };
    Ok(CastOptions { safe: load.safe, ..CastOptions::plain(order) })
}

//! Programs that hang, and groups that want to know: real sites, real programs.

mod sites;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sites::{Cluster, GAVE_UP, unanimous};
use unanimous::session::Address;
use unanimous::{Event, Events, JoinOptions, Process, Site};

/// A member of `strict` in a terminal of its own, as a process that can be stopped.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Terminal {
    fn join(cluster: &Cluster, site: usize) -> Terminal {
        let address = format!("unix:{}", cluster.path(site, "session.sock").display());
        let child = unanimous()
            .args(["--site", &address, "--json", "join", "strict"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        Terminal(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is ours");
    }
}

async fn process(cluster: &Cluster, site: usize) -> Process {
    let address: Address =
        cluster.path(site, "session.sock").to_str().expect("a path").parse().expect("an address");
    Site::connect(&address, "test").await.expect("the site runs")
}

/// Takes events until a view has so many members; gives who failed with it.
async fn until_members(events: &mut Events, members: usize) -> usize {
    let wait = async {
        loop {
            match events.next().await.expect("still a member") {
                Event::View(view) if view.members.len() == members => return view.left.len(),
                Event::Left { why } => panic!("taken out itself: {why}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(GAVE_UP, wait).await.expect("the view comes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_holds_back_nobody_but_its_own_site_is_asked_to_leave() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| config.limits.slow_member_s = 3);
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    let (caster, elsewhere) = (process(&cluster, 0).await, process(&cluster, 1).await);
    let (group, events) = caster.join("chat", JoinOptions::default()).await.expect("joins");
    let (_there, there) = elsewhere.join("chat", JoinOptions::default()).await.expect("joins");
    // It is a member, beside the only caster, and takes nothing.
    let slow = process(&cluster, 0).await;
    let (_member, mut forgotten) = slow.join("chat", JoinOptions::default()).await.expect("joins");
    let taking = [events, there].map(|mut events| {
        tokio::spawn(async move {
            let mut last = 0;
            while let Some(event) = events.next().await {
                match event {
                    Event::View(view) => last = view.members.len(),
                    Event::Message(message) if message.payload == "the end" => return last,
                    Event::Left { why } => panic!("taken out itself: {why}"),
                    _ => {}
                }
            }
            panic!("still a member")
        })
    });
    let payload = vec![7; 64 * 1024];
    let casting = async {
        // Far more than is kept anywhere for a program that takes nothing.
        for _ in 0..1_000 {
            group.cast(payload.clone()).send().await.expect("taken in the end");
        }
        group.cast("the end").send().await.expect("taken");
    };
    tokio::time::timeout(GAVE_UP, casting).await.expect("nobody waits for ever");
    for taking in taking {
        let members = tokio::time::timeout(GAVE_UP, taking).await.expect("in time").expect("no panic");
        assert_eq!(members, 2, "the others stay, at its site too");
    }
    let told = async {
        loop {
            if let Event::Left { why } = forgotten.next().await.expect("it is told") {
                return why;
            }
        }
    };
    let why = tokio::time::timeout(GAVE_UP, told).await.expect("in time");
    assert_eq!(why, "asked to leave: it held others back for 3 s");
}

#[tokio::test]
async fn a_program_that_hangs_is_out_of_the_groups_that_ask_and_in_those_that_do_not() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);

    let healthy = process(&cluster, 0).await;
    let strict = || JoinOptions::default().probe_ms(2_000);
    let (_strict, mut strict_events) = healthy.join("strict", strict()).await.expect("joins");
    let (_lax, mut lax_events) = healthy.join("lax", JoinOptions::default()).await.expect("joins");

    // This program takes the events of `lax` and forgets those of `strict`.
    let hung = process(&cluster, 1).await;
    let (strict_group, mut forgotten) = hung.join("strict", strict()).await.expect("joins");
    let (lax_group, mut its_lax) = hung.join("lax", JoinOptions::default()).await.expect("joins");
    until_members(&mut strict_events, 2).await;
    until_members(&mut lax_events, 2).await;
    until_members(&mut its_lax, 2).await;
    assert_eq!(until_members(&mut strict_events, 1).await, 1);
    lax_group.cast("still here").send().await.expect("its other group goes on");
    let heard = async {
        loop {
            if let Some(Event::Message(message)) = lax_events.next().await {
                return message;
            }
        }
    };
    let heard = tokio::time::timeout(GAVE_UP, heard).await.expect("it comes");
    assert_eq!(heard.payload, "still here");
    let why = loop {
        if let Event::Left { why } = forgotten.next().await.expect("it is told") {
            break why;
        }
    };
    assert_eq!(why, "the program did not take its events within 2000 ms");
    assert!(strict_group.cast("no longer").send().await.is_err());
    assert!(cluster.log(1).contains("does not take its events"), "{}", cluster.log(1));

    // A stopped process answers nothing; a second one, at the same site, is not held up by it.
    let stopped = Terminal::join(&cluster, 1);
    until_members(&mut strict_events, 2).await;
    let beside = process(&cluster, 1).await;
    let (beside_group, mut beside_events) = beside.join("strict", strict()).await.expect("joins");
    let taking = tokio::spawn(async move { while beside_events.next().await.is_some() {} });
    until_members(&mut strict_events, 3).await;
    stopped.signal(Signal::STOP);
    assert_eq!(until_members(&mut strict_events, 2).await, 1);
    beside_group.cast("all is well").send().await.expect("casts");
    tokio::time::timeout(GAVE_UP, beside_group.flush()).await.expect("in time").expect("delivered");

    // Woken up, it is told why, and ends.
    stopped.signal(Signal::CONT);
    let mut stopped = stopped;
    let error = BufReader::new(stopped.0.stderr.take().expect("piped"));
    let ended = tokio::task::spawn_blocking(move || {
        let lines: Vec<String> = error.lines().map_while(Result::ok).collect();
        (stopped.0.wait().expect("it ends"), lines)
    });
    let (status, lines) = tokio::time::timeout(GAVE_UP, ended).await.expect("it ends").expect("no panic");
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("did not take its events within 2000 ms")), "{lines:?}");

    // Who takes its events stays, for some times the group's time.
    let quiet = async {
        loop {
            if let Some(Event::View(view)) = strict_events.next().await {
                return view;
            }
        }
    };
    let view = tokio::time::timeout(Duration::from_secs(7), quiet).await;
    assert!(view.is_err(), "nobody else is taken out: {view:?}");
    taking.abort();
}

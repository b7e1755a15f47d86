//! What members of one group may have been told, judged by what they were told and what was cast.
//!
//! A *life* is the time of one member id: a member that was thrown out and let in again is another. Within its life
//! each member's views rise and list it; views of one id are the same to all; nothing is delivered twice, in another
//! view than its own, or without having been cast; and two lives that go together from one view to the next (or to the
//! end, in one view) were delivered the same messages in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use unanimous::session::protocol::View;

use super::caster::Cast;
use super::member::{Entry, Log};
use super::verdict::{Verdict, ensure, failed};

/// A stretch between two views of a member.
#[derive(Debug)]
pub struct Stretch {
    pub view: View,
    /// Its own id in it.
    pub me: String,
    pub texts: Vec<String>,
    /// The view after it in the same life.
    pub next: Option<View>,
    /// Whether it was going on when the log was read.
    pub last: bool,
}

/// A member's log in stretches.
pub fn stretches(log: &Log) -> Verdict<Vec<Stretch>> {
    let name = &log.name;
    let mut all: Vec<Stretch> = Vec::new();
    let (mut open, mut over) = (false, String::new());
    for (_, entry) in log.entries().iter() {
        match entry {
            Entry::View(view) => {
                let Some(me) = view.rank.and_then(|rank| view.members.get(rank)) else {
                    return failed(format!("{name} is not in its own view {view:?}"));
                };
                if let Some(before) = all.last_mut().filter(|before| before.me == *me) {
                    ensure(open, || format!("{name}: view {} after {me} had left", view.id))?;
                    ensure(number(&before.view) < number(view), || {
                        format!("{name}: view {} after {}", view.id, before.view.id)
                    })?;
                    before.next = Some(view.clone());
                }
                all.push(Stretch {
                    view: view.clone(),
                    me: me.clone(),
                    texts: Vec::new(),
                    next: None,
                    last: false,
                });
                open = true;
            }
            Entry::Message { view, text } => match all.last_mut().filter(|_| open) {
                Some(stretch) if stretch.view.id == *view => stretch.texts.push(text.clone()),
                Some(stretch) => {
                    return failed(format!("{name}: {text} of view {view} in view {}", stretch.view.id));
                }
                None => return failed(format!("{name}: {text} outside of any view{over}")),
            },
            Entry::Over(why) => {
                over = format!(", after it was over: {why}");
                open = false;
            }
        }
    }
    if open && let Some(last) = all.last_mut() {
        last.last = true;
    }
    Ok(all)
}

/// `epoch-attempt-coordinator`, for comparing.
fn number(view: &View) -> (u64, u64, String) {
    let mut parts = view.id.splitn(3, '-');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (epoch, attempt) = (next(), next());
    (epoch.parse().unwrap_or(0), attempt.parse().unwrap_or(0), next())
}

/// What a judgement counted, for whoever reads the run.
#[derive(Debug, Default)]
pub struct Judged {
    pub delivered: usize,
    pub views: usize,
    pub together: usize,
}

/// Judges members whose casters have stopped and flushed.
pub fn judge(logs: &[Arc<Log>], cast: &Cast) -> Verdict<Judged> {
    let mut judged = Judged::default();
    let mut known: BTreeMap<String, (Vec<String>, bool, bool)> = BTreeMap::new();
    let mut members = Vec::new();
    for log in logs {
        let stretches = stretches(log)?;
        let mut seen = BTreeSet::new();
        for stretch in &stretches {
            let view = &stretch.view;
            let said = (view.members.clone(), view.primary, view.lives);
            let first = known.entry(view.id.clone()).or_insert_with(|| said.clone());
            ensure(*first == said, || {
                format!("{}: view {} is {said:?} here and {first:?} elsewhere", log.name, view.id)
            })?;
            for text in &stretch.texts {
                ensure(seen.insert(text), || format!("{}: {text} was delivered twice", log.name))?;
                ensure(cast.taken.contains(text) || cast.unknown.contains(text), || {
                    format!("{}: {text} was never cast, or was refused", log.name)
                })?;
            }
            judged.delivered += stretch.texts.len();
        }
        judged.views = judged.views.max(stretches.len());
        members.push((log, stretches));
    }
    for (i, (log, stretches)) in members.iter().enumerate() {
        for (other_log, others) in &members[i + 1..] {
            for stretch in stretches {
                for other in others.iter().filter(|other| other.view.id == stretch.view.id) {
                    if went_together(stretch, other) {
                        judged.together += 1;
                        same_texts(&log.name, stretch, &other_log.name, other)?;
                    }
                }
            }
        }
    }
    Ok(judged)
}

fn went_together(a: &Stretch, b: &Stretch) -> bool {
    match (&a.next, &b.next) {
        (Some(x), Some(y)) => {
            x.id == y.id && x.transitional.contains(&b.me) && y.transitional.contains(&a.me)
        }
        (None, None) => a.last && b.last,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_texts(a_name: &str, a: &Stretch, b_name: &str, b: &Stretch) -> Verdict {
    if a.texts == b.texts {
        return Ok(());
    }
    let at = a.texts.iter().zip(&b.texts).take_while(|(x, y)| x == y).count();
    failed(format!(
        "{a_name} and {b_name} differ in view {} after {at} messages: {:?} and {:?} ({} and {} in all)",
        a.view.id,
        a.texts.get(at),
        b.texts.get(at),
        a.texts.len(),
        b.texts.len()
    ))
}

/// Every cast of a member that has had one life and is still in the group is delivered to it and, so, to all that
/// stayed with it.
pub fn nothing_lost(logs: &[Arc<Log>], cast: &Cast) -> Verdict {
    for log in logs {
        let stretches = stretches(log)?;
        let lives: BTreeSet<&String> = stretches.iter().map(|stretch| &stretch.me).collect();
        if lives.len() != 1 || !stretches.last().is_some_and(|stretch| stretch.last) {
            continue;
        }
        let delivered: BTreeSet<&String> = stretches.iter().flat_map(|stretch| &stretch.texts).collect();
        let own = format!("{}:", log.name);
        let lost: Vec<&String> =
            cast.taken.iter().filter(|text| text.starts_with(&own) && !delivered.contains(text)).collect();
        ensure(lost.is_empty(), || {
            format!("{}: {} own casts lost, {:?} first", log.name, lost.len(), lost[0])
        })?;
    }
    Ok(())
}

/// Waits until every member that stayed has been told the same number of messages in its last view: what was under way
/// when the casters stopped has arrived everywhere. Order and content are judged afterwards.
pub async fn at_rest(logs: &[Arc<Log>], cast: &Cast) -> Verdict {
    let Some(last) = logs.first() else { return Ok(()) };
    super::verdict::eventually("all that was cast is delivered to all that stayed", async || {
        let in_last_view = |log: &Arc<Log>| {
            let stretches = stretches(log).ok()?;
            let stretch = stretches.into_iter().next_back().filter(|stretch| stretch.last)?;
            Some((stretch.view.id, stretch.texts.len()))
        };
        let first = in_last_view(last)?;
        let rest = logs.iter().all(|log| in_last_view(log).as_ref() == Some(&first));
        (rest && nothing_lost(logs, cast).is_ok()).then_some(())
    })
    .await
}

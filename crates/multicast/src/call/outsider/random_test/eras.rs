//! How the group changes: deaths, joins, departures, partitions and merges. Between two views lies an era: a log of
//! casts of which each site is delivered a prefix; so many of them are at all sites. When a view changes, those who move
//! together agree on a cut: what none of them was delivered and is not at all sites may be lost, unless it is their own,
//! or ordered anew.

use std::collections::BTreeSet;

use bytes::Bytes;
use membership::group::GroupView;

use super::super::super::Installed;
use super::super::super::testing::{life, view_with};
use super::site::Site;
use super::world::{Sides, World};

/// A view, or for some who move on from it what they are delivered in it.
pub struct Era {
    pub casts: Vec<(u32, Bytes)>,
    /// So many are at all sites.
    pub stable: usize,
}

/// Those who can hear each other.
pub struct Side {
    /// The era of its view.
    pub era: usize,
    pub lives: bool,
    /// The sites, by seniority.
    pub members: Vec<u32>,
    /// A site that does not install the side's view: it goes on to the next one, alone.
    pub asleep: Option<u32>,
}

const MEMBERS_MAX: usize = 6;
const SIDES_MAX: usize = 3;

impl World {
    pub fn found(&mut self, members: usize) {
        let none = Vec::new();
        self.open_side(none, true, members, &[], false);
    }

    /// The membership changes in some way.
    pub fn change(&mut self) {
        let parts = self.sides_may != Sides::One && self.sides.len() < SIDES_MAX;
        match self.below(10) {
            0..6 => {
                let (deaths, joins, leaves) = (self.below(3), self.below(3), self.below(3) / 2);
                let side = self.below(self.sides.len());
                let sleeps = self.chance(20);
                self.renew(side, deaths, joins, leaves, sleeps);
            }
            6..8 if parts => {
                let side = self.below(self.sides.len());
                self.part(side);
            }
            _ if self.sides.len() > 1 => {
                let (one, other) = (self.below(self.sides.len()), self.below(self.sides.len()));
                if one != other {
                    let mayhem = self.chance(30);
                    self.merge(one, other, mayhem);
                }
            }
            _ => {}
        }
        for at in 0..self.clients.len() {
            self.news.push((at, 0));
        }
        self.flush_sites();
    }

    /// All who are apart come together, and nobody sleeps.
    pub fn heal(&mut self) {
        while self.sides.len() > 1 {
            self.merge(0, 1, false);
        }
        if self.sides[0].asleep.is_some() {
            self.renew(0, 0, 0, 0, false);
        }
        for at in 0..self.clients.len() {
            self.news.push((at, 0));
        }
        self.flush_sites();
    }

    fn renew(&mut self, side: usize, deaths: usize, joins: usize, leaves: usize, sleeps: bool) {
        let mut side = self.sides.remove(side);
        let mut gone = Vec::new();
        let mut left = Vec::new();
        // Who does not live may not decide who joins or leaves; somebody of the group always stays.
        let (joins, leaves) = if side.lives { (joins, leaves) } else { (0, 0) };
        for turn in 0..deaths + leaves {
            if side.members.len() > 1 {
                let dead = side.members.remove(self.below(side.members.len()));
                let out = if turn < deaths { &mut gone } else { &mut left };
                out.push(dead);
            }
        }
        let joins = joins.min(MEMBERS_MAX.saturating_sub(side.members.len()));
        gone.iter().for_each(|dead| self.die(*dead));
        let lives = side.lives;
        let all_gone: Vec<u32> = gone.iter().chain(&left).copied().collect();
        let view = self.open_side(vec![side], lives, joins, &all_gone, sleeps);
        left.iter().for_each(|n| self.end(*n, &view));
    }

    fn part(&mut self, side: usize) {
        if self.sides[side].members.len() < 2 || !self.sides[side].lives {
            return;
        }
        let side = self.sides.remove(side);
        let mut order = side.members.clone();
        let count = 1 + self.below(order.len() - 1);
        let mut here = BTreeSet::new();
        for _ in 0..count {
            here.insert(order.remove(self.below(order.len())));
        }
        let live = self.below(2);
        for (n, is_here) in [true, false].into_iter().enumerate() {
            let members: Vec<u32> =
                side.members.iter().copied().filter(|m| here.contains(m) == is_here).collect();
            let others: Vec<u32> =
                side.members.iter().copied().filter(|m| here.contains(m) != is_here).collect();
            let asleep = side.asleep.filter(|m| members.contains(m));
            let lives = self.sides_may == Sides::AllLive || n == live;
            let part = Side { era: side.era, lives: side.lives, members, asleep };
            self.open_side(vec![part], lives, 0, &others, false);
        }
        self.seen.parted += 1;
    }

    /// Two sides meet. The living become one; who is on a side that had died is out. With `mayhem`, somebody dies or
    /// sleeps over it.
    fn merge(&mut self, one: usize, other: usize, mayhem: bool) {
        let (first, second) = (one.max(other), one.min(other));
        let mut sides = vec![self.sides.remove(first), self.sides.remove(second)];
        sides.sort_by_key(|side| !side.lives);
        let lives = sides[0].lives;
        let mut out = Vec::new();
        if !sides[1].lives && lives {
            out = sides.pop().map(|side| side.members).unwrap_or_default();
        }
        let mut gone = Vec::new();
        if mayhem && sides[0].members.len() > 1 {
            let pick = self.below(sides[0].members.len());
            let dead = sides[0].members.remove(pick);
            self.die(dead);
            gone.push(dead);
        }
        let joins = if lives { self.below(2) } else { 0 };
        gone.extend(&out);
        let sleeps = mayhem && self.chance(50);
        let view = self.open_side(sides, lives, joins, &gone, sleeps);
        self.seen.ended += out.len() as u32;
        out.iter().for_each(|n| self.end(*n, &view));
        self.seen.merged += 1;
    }

    /// A new view for those who come from these sides. Gives it.
    fn open_side(
        &mut self,
        from: Vec<Side>,
        lives: bool,
        joins: usize,
        gone: &[u32],
        sleeps: bool,
    ) -> GroupView {
        let joined: Vec<u32> = (0..joins).map(|k| self.next_site + k as u32).collect();
        self.next_site += joins as u32;
        let old: Vec<u32> = from.iter().flat_map(|side| side.members.iter().copied()).collect();
        let members: Vec<u32> = old.iter().chain(&joined).copied().collect();
        let asleep_before: Vec<u32> = from.iter().filter_map(|side| side.asleep).collect();
        let awake: Vec<u32> = old.iter().copied().filter(|n| !asleep_before.contains(n)).collect();
        let asleep = (sleeps && awake.len() > 1).then(|| awake[self.below(awake.len())]);
        self.epoch += 1;
        let view = GroupView { lives, ..view_with(self.epoch, &members, &joined, gone) };
        let era = self.eras.len();
        self.eras.push(Era { casts: Vec::new(), stable: 0 });
        for side in from {
            let together: Vec<u32> = side
                .members
                .iter()
                .copied()
                .filter(|n| Some(*n) != asleep && !asleep_before.contains(n))
                .collect();
            self.move_on(&side, &together, era, &view);
            for n in side.members.iter().copied().filter(|n| !together.contains(n)) {
                if Some(n) == asleep {
                    self.close(&side, &[n]);
                    self.seen.slept += 1;
                } else {
                    // It slept, and comes alone with what it had.
                    let installed = installed(&view, &[n]);
                    self.sites.get_mut(&n).expect("a member").path.push_back((era, installed));
                }
            }
        }
        for &n in &joined {
            let mut site = Site::new(n, self.bugs, self.clients_max);
            site.path.push_back((era, installed(&view, &[n])));
            self.sites.insert(n, site);
        }
        self.seen.joins += joins as u32;
        self.sides.push(Side { era, lives, members, asleep });
        view
    }

    fn move_on(&mut self, side: &Side, together: &[u32], era: usize, view: &GroupView) {
        self.close(side, together);
        for n in together {
            self.sites.get_mut(n).expect("a member").path.push_back((era, installed(view, together)));
        }
    }

    /// The last that these are delivered in their side's era.
    fn close(&mut self, side: &Side, together: &[u32]) {
        let old = side.era;
        let there = together.iter().map(|n| &self.sites[n]).filter(|site| site.era == Some(old));
        let reached = there.map(|site| site.at).max().unwrap_or(0);
        let keep = reached.max(self.eras[old].stable);
        let mut casts = self.eras[old].casts.clone();
        let mut rest = casts.split_off(keep);
        let before = rest.len();
        let lose = self.chance(70);
        rest.retain(|(caster, _)| together.contains(caster) || !lose);
        if rest.iter().any(|(caster, _)| !together.contains(caster)) || rest.len() < before {
            rest.sort_by_key(|(caster, _)| *caster);
        }
        self.seen.lost += (before - rest.len()) as u32;
        casts.append(&mut rest);
        let closed = self.eras.len();
        self.eras.push(Era { casts, stable: self.eras[old].stable });
        for n in together {
            let site = self.sites.get_mut(n).expect("a member");
            let last = site.path.back_mut().map(|(era, _)| era).or(site.era.as_mut());
            *last.expect("it has a view") = closed;
        }
    }

    fn die(&mut self, n: u32) {
        let site = self.sites.remove(&n).expect("alive");
        self.over.push(site.record);
        for ((from, _), queue) in &mut self.network {
            if *from == n {
                queue.truncate(1);
            }
        }
        for at in 0..self.clients.len() {
            self.news.push((at, n));
        }
        self.seen.deaths += 1;
    }

    /// A site hears that the group goes on without it.
    fn end(&mut self, n: u32, view: &GroupView) {
        let site = self.sites.get_mut(&n).expect("alive");
        site.end(view);
        self.flush_sites();
        let site = self.sites.remove(&n).expect("alive");
        self.over.push(site.record);
    }
}

fn installed(view: &GroupView, together: &[u32]) -> Installed {
    Installed { view: view.clone().into(), together: together.iter().map(|n| life(*n)).collect() }
}

//! Pairs by key, in a B+ tree whose nodes are copied when they are changed and somebody else still has them: a copy of
//! the tree takes no time, and shares with the original what neither has changed since.
//!
//! The pairs' bytes are behind an `Arc` of their own, so what is copied is at most one leaf and the branches above it.

use std::fmt;
use std::ops::Bound;
use std::slice;
use std::sync::Arc;

use super::pair::Pair;

/// Pairs in a leaf, children in a branch.
const MAX: usize = 64;
/// With fewer, a node takes from its neighbour or becomes one with it.
const MIN: usize = 16;
/// Two nodes of together so many become one. Fewer than [`MAX`], so that the next insert does not part them again.
const MERGED_MAX: usize = 48;
/// By how much the room of a node grows.
const ROOM: usize = 8;

/// Pairs by key.
#[derive(Clone, Default)]
pub(super) struct Tree {
    root: Arc<Node>,
    len: usize,
}

#[derive(Clone)]
enum Node {
    /// Rising keys.
    Leaf(Vec<Pair>),
    /// Children by their first keys; at least two, so that one that becomes empty has a neighbour to join.
    Branch(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    /// No key below it is lower, and all keys before it are. Of a first child it is the parent's own.
    from: Arc<[u8]>,
    node: Arc<Node>,
}

impl Tree {
    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The pair of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Pair> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(pairs) => return place(pairs, key).ok().map(|at| &pairs[at]),
                Node::Branch(children) => node = &children[child(children, key)].node,
            }
        }
    }

    /// Takes a pair in. Returns the one of its key.
    pub fn insert(&mut self, pair: Pair) -> Option<Pair> {
        let (before, split) = insert(&mut self.root, pair);
        if let Some(right) = split {
            let left = Child { from: Arc::from([]), node: std::mem::take(&mut self.root) };
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a pair out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Pair> {
        // A key that is not there must not cost a copy.
        self.get(key)?;
        let pair = remove(&mut self.root, key)?;
        self.len -= 1;
        while let Node::Branch(children) = &*self.root
            && let [only] = &children[..]
        {
            self.root = Arc::clone(&only.node);
        }
        Some(pair)
    }

    /// The pairs from a key on.
    pub fn range<'a>(&'a self, from: Bound<&[u8]>) -> Range<'a> {
        let mut range = Range { branches: Vec::new(), leaf: [].iter() };
        let mut node = &self.root;
        loop {
            match (&**node, from) {
                (Node::Leaf(pairs), from) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => pairs.partition_point(|pair| pair.key() < key),
                        Bound::Excluded(key) => pairs.partition_point(|pair| pair.key() <= key),
                    };
                    range.leaf = pairs[at..].iter();
                    return range;
                }
                (Node::Branch(children), from) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) | Bound::Excluded(key) => child(children, key),
                    };
                    range.branches.push(children[at + 1..].iter());
                    node = &children[at].node;
                }
            }
        }
    }

    /// Checks the shape: order, bounds, one depth everywhere.
    pub fn audit(&self) -> Result<(), String> {
        let (mut leaves, mut pairs) = (None, 0);
        audit(&self.root, &[], None, 0, &mut leaves, &mut pairs)?;
        if pairs == self.len { Ok(()) } else { Err(format!("{} pairs, and not {pairs}", self.len)) }
    }
}

impl Default for Node {
    fn default() -> Node {
        Node::Leaf(Vec::new())
    }
}

/// It may have millions of pairs: it says how many.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pairs", self.len)
    }
}

/// The pairs from a key on.
pub(super) struct Range<'a> {
    /// What is left of each branch above the leaf.
    branches: Vec<slice::Iter<'a, Child>>,
    leaf: slice::Iter<'a, Pair>,
}

impl<'a> Iterator for Range<'a> {
    type Item = &'a Pair;

    fn next(&mut self) -> Option<&'a Pair> {
        loop {
            if let Some(pair) = self.leaf.next() {
                return Some(pair);
            }
            let Some(child) = self.branches.last_mut()?.next() else {
                self.branches.pop();
                continue;
            };
            match &*child.node {
                Node::Leaf(pairs) => self.leaf = pairs.iter(),
                Node::Branch(children) => self.branches.push(children.iter()),
            }
        }
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(pairs) => pairs.len(),
            Node::Branch(children) => children.len(),
        }
    }
}

fn place(pairs: &[Pair], key: &[u8]) -> Result<usize, usize> {
    pairs.binary_search_by(|pair| pair.key().cmp(key))
}

/// In which child a key is, if it is anywhere.
fn child(children: &[Child], key: &[u8]) -> usize {
    children.partition_point(|child| &*child.from <= key).saturating_sub(1)
}

/// What stands between two keys: no longer than it must be.
fn between(left: &[u8], right: &[u8]) -> Arc<[u8]> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    Arc::from(&right[..right.len().min(same + 1)])
}

/// Takes a pair in below a node. Returns the one of its key, and what the node had to give away to a new neighbour.
fn insert(node: &mut Arc<Node>, pair: Pair) -> (Option<Pair>, Option<Child>) {
    match Arc::make_mut(node) {
        Node::Leaf(pairs) => match place(pairs, pair.key()) {
            Ok(at) => (Some(std::mem::replace(&mut pairs[at], pair)), None),
            Err(at) => {
                put_in(pairs, at, pair);
                let right = split(pairs, at, 1).map(|right| {
                    let from = between(pairs[pairs.len() - 1].key(), right[0].key());
                    Child { from, node: Arc::new(Node::Leaf(right)) }
                });
                (None, right)
            }
        },
        Node::Branch(children) => {
            let at = child(children, pair.key());
            let (before, new) = insert(&mut children[at].node, pair);
            let Some(new) = new else { return (before, None) };
            put_in(children, at + 1, new);
            let right = split(children, at + 1, 2)
                .map(|right| Child { from: Arc::clone(&right[0].from), node: Arc::new(Node::Branch(right)) });
            (before, right)
        }
    }
}

/// Doubling the room would waste a third of it.
fn put_in<T>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(ROOM);
    }
    items.insert(at, item);
}

/// Parts what has become too much, of which `at` came last, and leaves each at least so many. What comes in rising order
/// leaves full nodes behind.
fn split<T>(items: &mut Vec<T>, at: usize, least: usize) -> Option<Vec<T>> {
    if items.len() <= MAX {
        return None;
    }
    let last = at == items.len() - 1;
    let at = if last { items.len() - least } else { items.len() / 2 };
    let right = items.split_off(at);
    items.shrink_to(at + ROOM);
    Some(right)
}

/// Takes a pair out below a node, which may become too small for its parent.
fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<Pair> {
    match Arc::make_mut(node) {
        Node::Leaf(pairs) => {
            let at = place(pairs, key).ok()?;
            Some(pairs.remove(at))
        }
        Node::Branch(children) => {
            let at = child(children, key);
            let pair = remove(&mut children[at].node, key)?;
            if children[at].node.len() < MIN && children.len() > 1 {
                join(children, at.min(children.len() - 2));
            }
            Some(pair)
        }
    }
}

/// Makes one node of two neighbours, or two of equal size.
fn join(children: &mut Vec<Child>, at: usize) {
    let (before, behind) = children.split_at_mut(at + 1);
    let (left, right) = (&mut before[at], &mut behind[0]);
    match (Arc::make_mut(&mut left.node), Arc::make_mut(&mut right.node)) {
        (Node::Leaf(left), Node::Leaf(pairs)) => {
            if share(left, pairs) {
                right.from = between(left[left.len() - 1].key(), pairs[0].key());
                return;
            }
        }
        (Node::Branch(left), Node::Branch(grandchildren)) => {
            if share(left, grandchildren) {
                right.from = Arc::clone(&grandchildren[0].from);
                return;
            }
        }
        _ => unreachable!("neighbours are of one depth"),
    }
    children.remove(at + 1);
}

/// Gives all to the left if that is not too much, else to each a half. Whether the right has any.
fn share<T>(left: &mut Vec<T>, right: &mut Vec<T>) -> bool {
    let all = left.len() + right.len();
    let half = all / 2;
    if all <= MERGED_MAX {
        left.append(right);
        return false;
    }
    if left.len() < half {
        left.extend(right.drain(..half - left.len()));
    } else {
        right.splice(..0, left.drain(half..));
    }
    true
}

fn audit(
    node: &Node,
    from: &[u8],
    to: Option<&[u8]>,
    depth: usize,
    leaves: &mut Option<usize>,
    pairs: &mut usize,
) -> Result<(), String> {
    let least = if matches!(node, Node::Branch(_)) { 2 } else { usize::from(depth > 0) };
    if !(least..=MAX).contains(&node.len()) {
        return Err(format!("a node of {} at depth {depth}", node.len()));
    }
    let within = |key: &[u8]| from <= key && to.is_none_or(|to| key < to);
    match node {
        Node::Leaf(own) => {
            *pairs += own.len();
            let rising = own.windows(2).all(|two| two[0].key() < two[1].key());
            let level = *leaves.get_or_insert(depth) == depth;
            let fits = own.iter().all(|pair| within(pair.key()));
            if rising && level && fits { Ok(()) } else { Err(format!("a leaf at depth {depth}: {own:?}")) }
        }
        Node::Branch(children) => {
            if children.first().is_none_or(|first| &*first.from != from) {
                return Err(format!("the first of a branch at depth {depth}"));
            }
            for (n, child) in children.iter().enumerate() {
                let to = children.get(n + 1).map(|next| &*next.from).or(to);
                audit(&child.node, &child.from, to, depth + 1, leaves, pairs)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pair::Lineage;
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    fn pair(key: &[u8], revision: u64) -> Pair {
        let lineage = Lineage { created: revision, modified: revision, versions: 1 };
        Pair::new(key, &revision.to_le_bytes(), lineage, None)
    }

    fn key(random: &mut ChaCha8Rng, keys: u32) -> Vec<u8> {
        // Keys of several lengths, of which some are the beginning of others.
        let n = random.next_u32() % keys;
        let mut key = n.to_string().into_bytes();
        key.extend(vec![b'0'; (n % 5) as usize * 3]);
        key
    }

    fn same(tree: &Tree, model: &BTreeMap<Vec<u8>, u64>) {
        tree.audit().unwrap();
        let pairs = tree.range(Bound::Unbounded).map(|pair| (pair.key().to_vec(), pair.modified()));
        assert!(pairs.eq(model.iter().map(|(key, revision)| (key.clone(), *revision))));
    }

    /// Grows and shrinks, with copies taken here and there which must not change.
    #[test]
    fn it_is_an_ordered_map_and_its_copies_stay_as_they_were() {
        for seed in 0..12 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let keys = [40, 1_000, 20_000][seed as usize % 3];
            let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
            let mut copies: Vec<(Tree, BTreeMap<Vec<u8>, u64>)> = Vec::new();
            for step in 0..30_000u64 {
                let key = key(&mut random, keys);
                let growing = (step / 6_000).is_multiple_of(2);
                if random.next_u32() % 100 < if growing { 75 } else { 20 } {
                    let before = tree.insert(pair(&key, step)).map(|pair| pair.modified());
                    assert_eq!(before, model.insert(key, step));
                } else {
                    assert_eq!(tree.remove(&key).map(|pair| pair.modified()), model.remove(&key));
                }
                if step % 5_000 == 4_321 {
                    copies.push((tree.clone(), model.clone()));
                }
                if step % 997 == 0 {
                    same(&tree, &model);
                }
            }
            same(&tree, &model);
            copies.iter().for_each(|(tree, model)| same(tree, model));
            for key in model.keys().cloned().collect::<Vec<_>>() {
                assert!(tree.remove(&key).is_some());
            }
            assert!(tree.len() == 0 && matches!(&*tree.root, Node::Leaf(pairs) if pairs.is_empty()));
            copies.iter().for_each(|(tree, model)| same(tree, model));
        }
    }

    #[test]
    fn a_range_begins_where_it_is_asked_to() {
        let mut random = ChaCha8Rng::seed_from_u64(99);
        let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
        for step in 0..3_000 {
            let key = key(&mut random, 4_000);
            tree.insert(pair(&key, step));
            model.insert(key, step);
        }
        for _ in 0..2_000 {
            let key = key(&mut random, 5_000);
            for from in [Bound::Included(&key[..]), Bound::Excluded(&key[..])] {
                let wanted = model.range::<[u8], _>((from, Bound::Unbounded)).take(5).map(|(_, at)| *at);
                assert!(tree.range(from).take(5).map(|pair| pair.modified()).eq(wanted));
            }
            let found = tree.get(&key).map(|pair| pair.modified());
            assert_eq!(found, model.get(&key).copied());
        }
    }

    #[test]
    fn what_grew_in_order_shrinks_from_either_end_and_from_the_middle() {
        for count in (1..200u64).chain([4_095, 4_096, 4_097, 4_160, 4_161, 9_000]) {
            for way in 0..3 {
                let mut tree = Tree::default();
                for n in 0..count {
                    tree.insert(pair(&n.to_be_bytes(), n));
                }
                for gone in 0..count {
                    let n = match way {
                        0 => gone,
                        1 => count - 1 - gone,
                        _ => (gone + count / 2) % count,
                    };
                    assert!(tree.remove(&n.to_be_bytes()).is_some());
                    if count < 200 || gone % 61 == 0 || gone < 70 {
                        tree.audit().unwrap_or_else(|what| panic!("{gone} of {count}, way {way}: {what}"));
                    }
                }
                assert_eq!(tree.len(), 0);
            }
        }
    }

    #[test]
    fn rising_keys_leave_full_leaves() {
        let mut tree = Tree::default();
        for n in 0..10_000u64 {
            tree.insert(pair(&n.to_be_bytes(), n));
        }
        tree.audit().unwrap();
        fn leaves(node: &Node) -> usize {
            match node {
                Node::Leaf(_) => 1,
                Node::Branch(children) => children.iter().map(|child| leaves(&child.node)).sum(),
            }
        }
        assert_eq!(leaves(&tree.root), 10_000usize.div_ceil(MAX));
    }
}

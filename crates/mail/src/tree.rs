//! A sorted map whose copies share whatever is not changed afterwards: a copy costs one pointer, and a change behind it
//! copies the few nodes on its way. A B+ tree; all leaves are equally deep.

use std::borrow::Borrow;
use std::ops::{Bound, Index};
use std::slice;
use std::sync::Arc;

/// Entries of a leaf, and children of an inner node.
const NODE_ITEMS_MAX: usize = 32;
/// A node with fewer is joined with a neighbour that has room.
const NODE_ITEMS_FEW: usize = NODE_ITEMS_MAX / 4;
/// Joined nodes leave some room, so that the next entry does not split them again.
const NODE_ITEMS_JOINED_MAX: usize = NODE_ITEMS_MAX * 3 / 4;

#[derive(Clone, Debug)]
pub(crate) struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

/// A node below another, with a key: none in it is below that, and none in the one before it is not. That of the first one
/// says nothing.
type Child<K, V> = (K, Arc<Node<K, V>>);

impl<K, V> Default for Tree<K, V> {
    fn default() -> Tree<K, V> {
        Tree { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

/// Equal if the entries are; how they lie depends on history.
impl<K: PartialEq, V: PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Tree<K, V>) -> bool {
        self.len == other.len && (Arc::ptr_eq(&self.root, &other.root) || self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for Tree<K, V> {}

impl<K, V> Tree<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All, in order of their keys.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { above: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root);
        iter
    }

    pub(crate) fn last_key(&self) -> Option<&K> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Inner(children) => node = &children.last()?.1,
                Node::Leaf(entries) => return entries.last().map(|(key, _)| key),
            }
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Inner(children) => node = &children[child_of(children, key)].1,
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&entries[at].1);
                }
            }
        }
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value, to be changed. What it shares with copies is copied first, if it is there.
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    node = Arc::make_mut(&mut children[at].1);
                }
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&mut entries[at].1);
                }
            }
        }
    }

    /// Puts a value under a key, and gives the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (before, split) = insert(Arc::make_mut(&mut self.root), key, value);
        if let Some((bound, right)) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            self.root = Arc::new(Node::Inner(vec![(bound.clone(), left), (bound, right)]));
        }
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let removed = remove(Arc::make_mut(&mut self.root), key);
        // A root with one child is of no use.
        while let Node::Inner(children) = &*self.root
            && let [] | [_] = &children[..]
        {
            let only = children.first().map(|(_, only)| Arc::clone(only));
            self.root = only.unwrap_or_else(|| Arc::new(Node::Leaf(Vec::new())));
        }
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// From a key on.
    pub(crate) fn range_from(&self, from: Bound<&K>) -> Iter<'_, K, V> {
        let (key, skipped) = match from {
            Bound::Unbounded => return self.iter(),
            Bound::Included(key) => (key, false),
            Bound::Excluded(key) => (key, true),
        };
        let (mut iter, mut node) = (Iter { above: Vec::new(), leaf: [].iter() }, &self.root);
        loop {
            match &**node {
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    iter.above.push(children[at + 1..].iter());
                    node = &children[at].1;
                }
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(k, _)| k < key || skipped && k == key);
                    iter.leaf = entries[at..].iter();
                    return iter;
                }
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> Index<&K> for Tree<K, V> {
    type Output = V;

    /// # Panics
    ///
    /// There is nothing under this key.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key was found before")
    }
}

/// In which child a key is, if it is there.
fn child_of<K: Borrow<Q>, Q: Ord + ?Sized, V>(children: &[Child<K, V>], key: &Q) -> usize {
    children[1..].partition_point(|(bound, _)| bound.borrow() <= key)
}

/// The upper half of a node that had no room, and the lowest key that may be in it.
type Split<K, V> = Option<Child<K, V>>;

fn insert<K: Ord + Clone, V: Clone>(node: &mut Node<K, V>, key: K, value: V) -> (Option<V>, Split<K, V>) {
    match node {
        Node::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                let upper = upper_half(entries, at);
                (None, upper.map(|upper| (upper[0].0.clone(), Arc::new(Node::Leaf(upper)))))
            }
        },
        Node::Inner(children) => {
            let at = child_of(children, &key);
            let (before, split) = insert(Arc::make_mut(&mut children[at].1), key, value);
            let Some(right) = split else { return (before, None) };
            children.insert(at + 1, right);
            let upper = upper_half(children, at + 1);
            (before, upper.map(|upper| (upper[0].0.clone(), Arc::new(Node::Inner(upper)))))
        }
    }
}

/// What has to go into a node of its own, when an item was put in here. Keys that ascend leave full nodes behind.
fn upper_half<T>(items: &mut Vec<T>, put_at: usize) -> Option<Vec<T>> {
    if items.len() <= NODE_ITEMS_MAX {
        return None;
    }
    let last = put_at + 1 == items.len();
    Some(items.split_off(if last { items.len() - 1 } else { items.len() / 2 }))
}

fn remove<K: Ord + Clone + Borrow<Q>, Q: Ord + ?Sized, V: Clone>(
    node: &mut Node<K, V>,
    key: &Q,
) -> Option<V> {
    match node {
        Node::Leaf(entries) => {
            let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
            Some(entries.remove(at).1)
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            let removed = remove(Arc::make_mut(&mut children[at].1), key);
            tidy(children, at);
            removed
        }
    }
}

/// Takes out a child that is empty; joins one that has few with a neighbour.
fn tidy<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let len = |at: usize| children.get(at).map_or(NODE_ITEMS_MAX, |(_, child)| child.len());
    if len(at) >= NODE_ITEMS_FEW {
        return;
    }
    if len(at) == 0 {
        children.remove(at);
        return;
    }
    let left = match at {
        1.. if len(at - 1) + len(at) <= NODE_ITEMS_JOINED_MAX => at - 1,
        _ if len(at) + len(at + 1) <= NODE_ITEMS_JOINED_MAX => at,
        _ => return,
    };
    let (bound, right) = children.remove(left + 1);
    let right = Arc::unwrap_or_clone(right);
    match (Arc::make_mut(&mut children[left].1), right) {
        (Node::Leaf(into), Node::Leaf(more)) => into.extend(more),
        (Node::Inner(into), Node::Inner(mut more)) => {
            // The first child's key says nothing; now it is not the first any more.
            more[0].0 = bound;
            into.extend(more);
        }
        _ => unreachable!("neighbours are equally deep"),
    }
}

impl<K, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }
}

/// Entries in order of their keys.
pub(crate) struct Iter<'a, K, V> {
    /// What is to come of each node on the way.
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    leaf: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    /// To the first leaf below a node.
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Leaf(entries) => return self.leaf = entries.iter(),
                Node::Inner(children) => {
                    let mut children = children.iter();
                    let Some((_, first)) = children.next() else { return };
                    self.above.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.above.last_mut()?.next() {
                Some((_, child)) => self.descend(child),
                None => drop(self.above.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// How deep a node is, if what is said of it holds.
    fn depth(node: &Node<u16, u16>, from: Option<u16>, to: Option<u16>, is_root: bool) -> usize {
        assert!(node.len() <= NODE_ITEMS_MAX && (is_root || node.len() > 0));
        match node {
            Node::Leaf(entries) => {
                let keys: Vec<u16> = entries.iter().map(|(key, _)| *key).collect();
                assert!(keys.is_sorted() && keys.iter().all(|key| from.is_none_or(|from| from <= *key)));
                assert!(keys.iter().all(|key| to.is_none_or(|to| *key < to)));
                0
            }
            Node::Inner(children) => {
                assert!(!is_root || children.len() > 1);
                let bound = |at: usize| children.get(at).map(|(bound, _)| *bound).or(to);
                let from = |at: usize| if at == 0 { from } else { bound(at) };
                let below = |at: usize| depth(&children[at].1, from(at), bound(at + 1), false);
                let depths: Vec<usize> = (0..children.len()).map(below).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    fn check(tree: &Tree<u16, u16>, model: &BTreeMap<u16, u16>) {
        depth(&tree.root, None, None, true);
        assert_eq!(tree.len(), model.len());
        assert!(tree.iter().eq(model.iter()), "{tree:?} is not {model:?}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u16),
        Remove(u16),
        Change(u16, u16),
        /// A copy is taken, and looked at in the end.
        Copy,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..600u16;
        let step = prop_oneof![
            8 => (key.clone(), any::<u16>()).prop_map(|(key, value)| Step::Insert(key, value)),
            7 => key.clone().prop_map(Step::Remove),
            2 => (key, any::<u16>()).prop_map(|(key, value)| Step::Change(key, value)),
            1 => Just(Step::Copy),
        ];
        proptest::collection::vec(step, 0..2_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_tree_is_a_sorted_map_and_its_copies_stay_as_they_were(steps in steps(), from in 0..600u16) {
            let (mut tree, mut model, mut copies) = (Tree::default(), BTreeMap::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Insert(key, value) => prop_assert_eq!(tree.insert(key, value), model.insert(key, value)),
                    Step::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                    Step::Change(key, value) => {
                        let (mine, theirs) = (tree.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(&mine, &theirs);
                        mine.into_iter().chain(theirs).for_each(|there| *there = value);
                    }
                    Step::Copy => copies.push((tree.clone(), model.clone())),
                }
            }
            copies.push((tree, model));
            for (tree, model) in &copies {
                check(tree, model);
                for bound in [Bound::Included(&from), Bound::Excluded(&from), Bound::Unbounded] {
                    let expected = model.range((bound.cloned(), Bound::Unbounded));
                    prop_assert!(tree.range_from(bound).eq(expected));
                }
                prop_assert_eq!(tree.get(&from), model.get(&from));
                prop_assert_eq!(tree.last_key(), model.keys().next_back());
            }
        }
    }

    /// Requests are remembered in order and forgotten in order.
    #[test]
    fn what_comes_at_the_end_and_goes_at_the_front_takes_little_room() {
        let mut tree = Tree::default();
        for key in 0..20_000u16 {
            tree.insert(key, key);
            if key >= 1_000 {
                assert_eq!(tree.remove(&(key - 1_000)), Some(key - 1_000));
            }
        }
        assert!(
            depth(&tree.root, None, None, true) <= 2,
            "a thousand entries are in leaves that are nearly full"
        );
        assert_eq!(tree.iter().next(), Some((&19_000, &19_000)));
    }
}

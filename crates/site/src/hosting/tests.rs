//! A group whose state is read from a received checkpoint while the machine goes on.

use durable::{CheckpointHead, Entry, Number};
use stack::Config;
use tempfile::TempDir;
use tools::map::Put;
use wire::{ClusterId, Incarnation, SiteId, StoreId};

use super::*;

fn node(me: Peer) -> Node {
    let config = Config {
        cluster: ClusterId(1),
        cluster_epoch: 0,
        me,
        name: "a".to_owned(),
        founders: vec![me.site],
        known: Default::default(),
        mservers: Default::default(),
        addresses: Vec::new(),
        mserver: true,
        window_bytes_max: 1 << 20,
        slow_member_after: Duration::from_secs(30),
        link: stack::LinkConfig::default(),
        detection_max: Duration::from_secs(1),
        bugs: wire::bugs::Bugs::NONE,
        trace: false,
    };
    Node::start(config, None, Time::ZERO, 1).expect("it starts")
}

fn group() -> GroupName {
    GroupName::parse("m").expect("a name")
}

struct Site {
    node: Node,
    hosting: Hosting,
    _data: TempDir,
}

impl Site {
    /// A site with the store of one map, which is empty.
    async fn start() -> Site {
        let data = tempfile::tempdir().expect("a folder");
        let me = Peer { site: SiteId(1), incarnation: Incarnation(1), store: StoreId(1) };
        let levels = Arc::new(Levels::open(data.path(), None).expect("opened"));
        let mut hosting = Hosting::new(me, data.path().join("durable"), 7, levels, Default::default());
        let stores = Configuration::majority([(me.store, me.site)]);
        hosting.open(group(), Served::Map(Box::default()), stores);
        let mut site = Site { node: node(me), hosting, _data: data };
        site.disk_says().await;
        site
    }

    async fn disk_says(&mut self) {
        let said = self.hosting.recv().await.expect("the disk lives");
        assert!(self.hosting.handle_disk(&mut self.node, Time::ZERO, said).is_ok());
    }

    fn machine_says(&mut self, said: Event) {
        assert!(self.hosting.handle_event(&mut self.node, Time::ZERO, &group(), said).is_ok());
    }

    fn put(&mut self, position: u64, key: &str) {
        let put = Put { key: key.as_bytes(), value: b"", ttl_ms: None, only_if: None };
        let payload = map::Request::Put(put).encode();
        let request = Request { client: ClientId([1; 16]), sequence: position, answered: 0, payload };
        let number = Number { position, ..Number::default() };
        self.machine_says(Event::Apply {
            entry: Entry { number, time: 1, body: Body::Request(request) },
            clock: 1,
        });
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let Stage::Open(_, Served::Map(map)) = &self.hosting.groups[&group()].stage else {
            panic!("not open")
        };
        map.list(b"", None, 10, 0).pairs.iter().map(|pair| pair.key().to_vec()).collect()
    }
}

#[tokio::test]
async fn what_is_applied_while_a_checkpoint_is_read_is_applied_to_it() {
    let mut site = Site::start().await;
    site.put(1, "before");
    assert_eq!(site.keys(), [b"before"]);
    // The store has no checkpoint: what is read is a new state.
    site.machine_says(Event::Restore(CheckpointHead::default()));
    site.put(2, "behind");
    assert_eq!(site.keys(), [b"before"], "it waits for its state");
    site.disk_says().await;
    assert_eq!(site.keys(), [b"behind"], "the state that was read, and the entry");
    site.put(3, "last");
    assert_eq!(site.keys().len(), 2);
}

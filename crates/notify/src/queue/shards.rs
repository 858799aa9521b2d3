//! Which process sends for which webhook, where there are several. Pure.
//!
//! Each webhook belongs to one shard, by its uid; a process acts for the shards that it holds (by a Lease each), over a log of its own for
//! each. A runner is told which it holds, and can be asked to let one go.

use std::collections::BTreeSet;

/// The shards that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    of: u32,
    held: BTreeSet<u32>,
}

impl Shards {
    /// All of them: the only process.
    pub fn all() -> Self {
        Self { of: 1, held: [0].into() }
    }

    /// Some `held` shards `of` all.
    pub fn some(of: u32, held: impl IntoIterator<Item = u32>) -> Self {
        Self { of: of.max(1), held: held.into_iter().collect() }
    }

    /// Whether a webhook is among them.
    pub fn contains(&self, uid: &str) -> bool {
        self.held.contains(&owner(uid, self.of))
    }
}

/// The shard of a webhook, below `shards`. The same in every process and release: rendezvous hashing, so that another number of
/// shards moves as few webhooks as possible.
pub fn owner(uid: &str, shards: u32) -> u32 {
    let weight = |shard: u32| {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&shard.to_be_bytes());
        context.update(uid.as_bytes());
        context.finish().as_ref().to_vec()
    };
    (0..shards.max(1)).max_by_key(|shard| weight(*shard)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_spread_and_few_move_when_shards_are_added() {
        let uids: Vec<String> = (0..3000).map(|n| format!("uid-{n}")).collect();
        for shard in 0..3 {
            let count = uids.iter().filter(|uid| owner(uid, 3) == shard).count();
            assert!((800..1200).contains(&count), "{count} in shard {shard}");
        }
        for uid in &uids {
            let (before, after) = (owner(uid, 3), owner(uid, 4));
            assert!(before == after || after == 3, "{uid} moved from {before} to {after}");
        }
        assert_eq!(owner("uid", 0), 0);
        assert!(Shards::all().contains("anything"));
    }
}

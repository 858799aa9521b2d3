//! Whether an id may be known: 32 bits of every id of the closed segments, in sorted blocks in memory.
//!
//! A lookup is one binary search in each block; a hit (a true one, or one in some thousands by chance) is confirmed in the id files
//! of that block. Memory is 4 bytes for an id, at most [`Options::id_memory`](super::Options::id_memory); above that the oldest blocks
//! are forgotten, and every lookup goes to their files instead. After a start the blocks are loaded in the background, and until then
//! lookups go to the files too: slower, never wrong.

use std::sync::{Arc, Mutex};

use super::shared::lock;

/// A block is not grown beyond this many fingerprints; it bounds both the number of blocks and the cost of a merge.
const BLOCK: usize = 1 << 20;

/// The fingerprints of some id files.
struct Block {
    /// Their ordinals, ascending.
    files: Vec<u64>,
    /// Sorted; `None`: not in memory, ask the files.
    prints: Option<Arc<[u32]>>,
}

/// All blocks, oldest first.
pub(super) struct Fingerprints {
    blocks: Mutex<Vec<Block>>,
    limit: usize,
}

/// The fingerprint of an id's hash.
pub(super) fn fingerprint(hash: &[u8; 16]) -> u32 {
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

impl Fingerprints {
    /// Of the id files `files` (ascending), none of them loaded. `limit` is in bytes.
    pub fn new(files: &[u64], limit: usize) -> Self {
        let blocks = files.iter().map(|ordinal| Block { files: vec![*ordinal], prints: None }).collect();
        Self { blocks: Mutex::new(blocks), limit: limit / 4 }
    }

    /// Id files that may hold `hash`, newest first.
    pub fn candidates(&self, hash: &[u8; 16]) -> Vec<u64> {
        let print = fingerprint(hash);
        let blocks = lock(&self.blocks);
        let hit = |block: &&Block| block.prints.as_ref().is_none_or(|prints| prints.binary_search(&print).is_ok());
        blocks.iter().rev().filter(hit).flat_map(|block| block.files.iter().rev().copied()).collect()
    }

    /// Adds the sorted fingerprints of a file, or loads those of a file that is known. Only the janitor calls this, so the merge
    /// can be made outside the lock.
    pub fn add(&self, file: u64, prints: Vec<u32>) {
        let loaded = |block: &&mut Block| block.prints.is_some();
        let last = lock(&self.blocks).iter_mut().rfind(loaded).and_then(|block| block.prints.clone());
        let merged = last.filter(|last| last.len() + prints.len() <= BLOCK).map(|last| {
            let mut merged = [&last, prints.as_slice()].concat();
            merged.sort();
            merged
        });
        let mut blocks = lock(&self.blocks);
        blocks.retain(|block| block.prints.is_some() || block.files != [file]);
        match (merged, blocks.iter_mut().rfind(loaded)) {
            (Some(merged), Some(block)) => {
                block.files.push(file);
                block.files.sort_unstable();
                block.prints = Some(merged.into());
            }
            _ => blocks.push(Block { files: vec![file], prints: Some(prints.into()) }),
        }
        self.shrink(&mut blocks);
    }

    fn shrink(&self, blocks: &mut [Block]) {
        let mut held: usize = blocks.iter().filter_map(|block| block.prints.as_ref()).map(|prints| prints.len()).sum();
        for block in blocks.iter_mut() {
            if held <= self.limit {
                break;
            }
            held -= block.prints.take().map_or(0, |prints| prints.len());
        }
    }

    /// Forgets a file that is going. What its block still says of it is a lookup in vain at worst.
    pub fn remove(&self, file: u64) {
        let mut blocks = lock(&self.blocks);
        for block in blocks.iter_mut() {
            block.files.retain(|ordinal| *ordinal != file);
        }
        blocks.retain(|block| !block.files.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(print: u32) -> [u8; 16] {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&print.to_be_bytes());
        hash
    }

    #[test]
    fn finds_what_was_added_and_nothing_else() {
        let all = Fingerprints::new(&[], usize::MAX);
        all.add(1, vec![10, 20]);
        all.add(2, vec![15]);
        assert_eq!(all.candidates(&hash(15)), [2, 1], "small files share a block, newest is asked first");
        assert!(all.candidates(&hash(16)).is_empty());
        all.remove(2);
        assert_eq!(all.candidates(&hash(15)), [1]);
        all.remove(1);
        assert!(all.candidates(&hash(15)).is_empty());
    }

    #[test]
    fn unloaded_files_are_always_candidates() {
        let all = Fingerprints::new(&[3, 4], usize::MAX);
        assert_eq!(all.candidates(&hash(1)), [4, 3]);
        all.add(3, vec![7]);
        assert_eq!(all.candidates(&hash(1)), [4]);
        all.add(4, vec![8]);
        assert!(all.candidates(&hash(1)).is_empty());
        assert_eq!(all.candidates(&hash(8)), [4, 3]);
    }

    #[test]
    fn forgets_the_oldest_block_above_the_limit() {
        let all = Fingerprints::new(&[], 4 * (BLOCK + 10));
        all.add(1, (0..BLOCK as u32).collect());
        all.add(2, (0..20).map(|n| n + (BLOCK as u32)).collect());
        assert_eq!(all.candidates(&hash(u32::MAX)), [1], "no longer in memory: must be looked up");
        assert_eq!(all.candidates(&hash(BLOCK as u32)), [2, 1]);
    }
}

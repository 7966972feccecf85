//! Computes the BLAKE3 of a file from blocks that several threads hash in any order.
//!
//! BLAKE3 is a tree: the hash of a block that is a subtree of it depends on the block and its place alone.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use rayon::prelude::*;

use crate::memory;
use crate::os::read_exact_at;

/// Bytes of a block, but for the last one: they stay in the cache of one core while they are hashed and written.
pub const BLOCK: usize = 1 << 18;

/// The blocks of a file of known length, hashed or not yet.
#[derive(Debug)]
pub struct BlockDigest {
    len: u64,
    values: Vec<OnceLock<ChainingValue>>,
}

impl BlockDigest {
    /// For a file of `len` bytes, none of them hashed; fails with a message if it is too long for the memory.
    pub fn new(len: u64) -> Result<Self, String> {
        let count = len.div_ceil(BLOCK as u64) as usize;
        let mut values = memory::room(count, "the digest of so long a file")?;
        values.resize_with(count, OnceLock::new);
        Ok(Self { len, values })
    }

    /// Hashes the bytes of the file from `begin` on, if they are exactly a block.
    pub fn add(&self, begin: u64, bytes: &[u8]) {
        let index = (begin / BLOCK as u64) as usize;
        let whole = begin.is_multiple_of(BLOCK as u64) && bytes.len() == self.block_len(index);
        if let Some(slot) = self.values.get(index).filter(|_| whole) {
            slot.get_or_init(|| value(begin, bytes));
        }
    }

    /// The digest of `file`, 64 hex digits; blocks that were not hashed are read from it.
    pub fn digest(&self, file: &File) -> io::Result<String> {
        let missing = |&index: &usize| self.values[index].get().is_none();
        let missing: Vec<usize> = (0..self.values.len()).filter(missing).collect();
        if self.values.len() <= 1 {
            let mut all = vec![0; self.len as usize];
            read_exact_at(file, &mut all, 0)?;
            return Ok(blake3::hash(&all).to_hex().to_string());
        }
        missing
            .into_par_iter()
            .try_for_each_init(Vec::new, |bytes, index| {
                let begin = index as u64 * BLOCK as u64;
                bytes.resize(self.block_len(index), 0);
                read_exact_at(file, bytes, begin)?;
                self.add(begin, bytes);
                io::Result::Ok(())
            })?;
        let left = left(self.values.len());
        let (left, right) = (self.subtree(0, left), self.subtree(left, self.values.len()));
        let root = merge_subtrees_root(&left, &right, Mode::Hash);
        Ok(root.to_hex().to_string())
    }

    fn block_len(&self, index: usize) -> usize {
        let left = self.len.saturating_sub(index as u64 * BLOCK as u64);
        left.min(BLOCK as u64) as usize
    }

    /// The value of the blocks [begin, end), which must be a subtree.
    fn subtree(&self, begin: usize, end: usize) -> ChainingValue {
        if end - begin == 1 {
            return *self.values[begin].get().expect("every block was hashed");
        }
        let middle = begin + left(end - begin);
        let (left, right) = (self.subtree(begin, middle), self.subtree(middle, end));
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
}

fn value(begin: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher
        .set_input_offset(begin)
        .update(bytes)
        .finalize_non_root()
}

/// Blocks in the left subtree of `count`: the largest power of two below it.
fn left(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    use super::*;
    use crate::fingerprint::digest;
    use crate::testing::Folder;

    fn numbered(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251 + i / BLOCK) as u8).collect()
    }

    proptest! {
        #![proptest_config(Config::with_cases(12))]

        #[test]
        fn blocks_in_any_order_give_the_hash_of_the_whole(
            whole in 0_usize..7,
            rest in 0_usize..3000,
            added in prop::collection::vec(0_usize..8, 0..8),
        ) {
            let bytes = numbered(whole * BLOCK + rest);
            let folder = Folder::new();
            let file = File::open(folder.write("a", &bytes)).unwrap();
            let blocks = BlockDigest::new(bytes.len() as u64).unwrap();
            for index in added {
                if let Some(block) = bytes.chunks(BLOCK).nth(index) {
                    blocks.add((index * BLOCK) as u64, block);
                }
            }
            prop_assert_eq!(blocks.digest(&file).unwrap(), digest(&bytes));
        }
    }

    #[test]
    fn what_is_not_exactly_a_block_is_read() {
        let bytes = numbered(2 * BLOCK + 5);
        let folder = Folder::new();
        let file = File::open(folder.write("a", &bytes)).unwrap();
        let blocks = BlockDigest::new(bytes.len() as u64).unwrap();
        blocks.add(0, &[7; BLOCK - 1]);
        blocks.add(64, &[7; BLOCK]);
        blocks.add(BLOCK as u64, &[7; 5]);
        blocks.add(2 * BLOCK as u64, &[7; 4]);
        assert_eq!(blocks.digest(&file).unwrap(), digest(&bytes));
    }

    #[test]
    fn blocks_that_were_taken_in_are_not_read() {
        let bytes = numbered(2 * BLOCK + 5);
        let folder = Folder::new();
        let empty = File::open(folder.write("a", &[])).unwrap();
        let blocks = BlockDigest::new(bytes.len() as u64).unwrap();
        for (index, block) in bytes.chunks(BLOCK).enumerate().skip(1) {
            blocks.add((index * BLOCK) as u64, block);
        }
        assert!(blocks.digest(&empty).is_err());
        blocks.add(0, &bytes[..BLOCK]);
        assert_eq!(blocks.digest(&empty).unwrap(), digest(&bytes));
    }
}

//! Packs matrices of bits, draws their rows with repeats, and transposes them.

/// Words of 64 bits that the rows are padded to: a vector of the widest processors.
pub const LANES: usize = 8;
const WORD: usize = u64::BITS as usize;

/// A group of words of a row.
pub type Lanes = [u64; LANES];

/// Rows of bits. Those after the last column are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitMatrix {
    rows: usize,
    columns: usize,
    words: Vec<Lanes>,
}

impl BitMatrix {
    fn zeros(rows: usize, columns: usize) -> Self {
        let words = vec![[0; LANES]; rows * columns.div_ceil(WORD * LANES)];
        Self {
            rows,
            columns,
            words,
        }
    }

    /// Takes every byte of `bytes` [rows, columns] that is not 0 for a 1.
    pub fn pack(bytes: &[u8], rows: usize, columns: usize) -> Self {
        assert_eq!(bytes.len(), rows * columns);
        let mut bits = Self::zeros(rows, columns);
        if columns > 0 {
            for (row, bytes) in bytes.chunks_exact(columns).enumerate() {
                for (word, bytes) in bits.row_mut(row).iter_mut().zip(bytes.chunks(WORD)) {
                    *word = bytes
                        .iter()
                        .rfold(0, |word, &byte| word << 1 | u64::from(byte != 0));
                }
            }
        }
        bits
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn stride(&self) -> usize {
        self.columns.div_ceil(WORD * LANES)
    }

    /// The words of a row.
    pub fn row(&self, row: usize) -> &[Lanes] {
        &self.words[row * self.stride()..][..self.stride()]
    }

    fn row_mut(&mut self, row: usize) -> &mut [u64] {
        let stride = self.stride();
        self.words[row * stride..][..stride].as_flattened_mut()
    }

    fn is_empty(&self, row: usize) -> bool {
        self.row(row).as_flattened().iter().all(|&word| word == 0)
    }

    /// The rows `chosen`, which may repeat, without those that hold no 1.
    ///
    /// Panics if there is no such row.
    pub fn draw(&self, chosen: impl IntoIterator<Item = usize>) -> Self {
        let mut drawn = Self::zeros(0, self.columns);
        for row in chosen {
            assert!(row < self.rows, "row {row} of {}", self.rows);
            if !self.is_empty(row) {
                drawn.words.extend_from_slice(self.row(row));
                drawn.rows += 1;
            }
        }
        drawn
    }

    /// The same with rows for columns.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.rows);
        let (from, to) = (self.stride() * LANES, out.stride() * LANES);
        let source = self.words.as_flattened();
        let target = out.words.as_flattened_mut();
        for across in 0..self.rows.div_ceil(WORD) {
            for along in 0..self.columns.div_ceil(WORD) {
                let mut block = [0; WORD];
                let rows = across * WORD..self.rows.min((across + 1) * WORD);
                for (word, row) in block.iter_mut().zip(rows) {
                    *word = source[row * from + along];
                }
                transpose(&mut block);
                let rows = along * WORD..self.columns.min((along + 1) * WORD);
                for (&word, row) in block.iter().zip(rows) {
                    target[row * to + across] = word;
                }
            }
        }
        out
    }
}

/// Swaps halves of ever smaller squares across the diagonal (Warren, *Hacker's Delight*, section 7-3).
fn transpose(block: &mut [u64; WORD]) {
    let (mut half, mut low) = (WORD / 2, u64::MAX >> (WORD / 2));
    while half > 0 {
        for row in (0..WORD).filter(|row| row & half == 0) {
            let swapped = (block[row] >> half ^ block[row + half]) & low;
            block[row + half] ^= swapped;
            block[row] ^= swapped << half;
        }
        half /= 2;
        low ^= low << half;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(rows: usize, columns: usize, seed: u32) -> Vec<u8> {
        let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 30;
        (0..rows * columns)
            .map(|i| [0, 1, 0, 255][byte(i) as usize])
            .collect()
    }

    fn bit(bits: &BitMatrix, row: usize, column: usize) -> bool {
        bits.row(row).as_flattened()[column / 64] >> (column % 64) & 1 == 1
    }

    proptest! {
        #[test]
        fn every_bit_has_its_place(rows in 0_usize..150, columns in 0_usize..150, seed in any::<u32>()) {
            let bytes = bytes(rows, columns, seed);
            let bits = BitMatrix::pack(&bytes, rows, columns);
            let turned = bits.transposed();
            prop_assert_eq!((turned.rows(), turned.columns), (columns, rows));
            for row in 0..rows {
                for column in 0..columns {
                    let expected = bytes[row * columns + column] != 0;
                    prop_assert_eq!(bit(&bits, row, column), expected);
                    prop_assert_eq!(bit(&turned, column, row), expected);
                }
            }
            prop_assert_eq!(turned.transposed(), bits);
        }

        #[test]
        fn a_draw_holds_the_rows_that_are_not_empty(rows in 1_usize..99, columns in 1_usize..99, seed in any::<u32>()) {
            let mut bytes = bytes(rows, columns, seed);
            bytes[..columns].fill(0);
            let chosen: Vec<usize> = (0..2 * rows).map(|i| (i * 7919).wrapping_add(seed as usize) % rows).collect();
            let drawn = BitMatrix::pack(&bytes, rows, columns).draw(chosen.iter().copied());
            let kept = chosen.iter().map(|row| &bytes[row * columns..][..columns]);
            let kept: Vec<&[u8]> = kept.filter(|row| row.iter().any(|&byte| byte != 0)).collect();
            prop_assert_eq!(drawn, BitMatrix::pack(&kept.concat(), kept.len(), columns));
        }
    }
}

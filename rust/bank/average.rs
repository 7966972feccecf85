//! Adds up the rows of many checkpoints, each times a weight, in one pass over their files.

use multiversion::multiversion;

use crate::bank::collect::read_row::{Seen, find};
use crate::bank::layout::{Layout, Segment};
use crate::error::Result;
use crate::read::{Checkpoint, Origin, TensorReader};
use crate::runtime::parallel::{Cancel, try_each};

/// Checkpoints that are open together: their numbers are added to a window of sums while it is in the cache.
const TOGETHER: usize = 32;

/// Checkpoints whose windows are read, then added at once.
const AT_ONCE: usize = 4;

/// Numbers in a window: `AT_ONCE` windows and their sums fit the second cache of one core.
const WINDOW: usize = 1 << 13;

/// Every `stride`-th number of each row, of `columns` numbers a row.
pub struct Samples<'a> {
    /// `[checkpoints, columns]`.
    pub rows: &'a mut [f32],
    /// Numbers kept of a row: D / `stride`, rounded up.
    pub columns: usize,
    /// Numbers from one that is kept to the next.
    pub stride: usize,
}

/// Adds `weights[k]` times the row of checkpoint `k` to `sums` [D], in order of `k`, in f64.
///
/// The sums are the same for any number of threads. A value that is not finite leaves a sum that is not, and
/// only then the checkpoint is looked for. Refuses what [`read_row`] refuses.
///
/// [`read_row`]: crate::bank::collect::read_row::read_row
pub fn add_rows(
    layout: &Layout,
    origins: &[&Origin],
    weights: &[f64],
    sums: &mut [f64],
    mut samples: Option<Samples<'_>>,
    cancel: &Cancel,
) -> Result<()> {
    for (group, origins) in origins.chunks(TOGETHER).enumerate() {
        let checkpoints = origins
            .iter()
            .map(|origin| origin.open(cancel))
            .collect::<Result<Vec<_>>>()?;
        let first = group * TOGETHER;
        let weights = &weights[first..first + checkpoints.len()];
        let kept = samples.as_mut().map(|samples| {
            let columns = samples.columns;
            let rows = &mut samples.rows[first * columns..(first + checkpoints.len()) * columns];
            (rows, columns, samples.stride)
        });
        let mut tasks = tasks(layout, sums, kept, checkpoints.len());
        tasks.sort_by_key(|task| std::cmp::Reverse(task.sums.len()));
        try_each(tasks, cancel, |task| {
            add_tensor(&checkpoints, weights, task, cancel)
        })?;
        for checkpoint in &checkpoints {
            checkpoint.check_unchanged()?;
        }
    }
    if sums.iter().all(|sum| sum.is_finite()) {
        return Ok(());
    }
    for origin in origins {
        let checkpoint = origin.open(cancel)?;
        for segment in layout.segments() {
            check(&checkpoint, segment, cancel)?;
        }
    }
    Ok(())
}

/// One tensor of a row: where its sums are, and its samples of each checkpoint.
struct Task<'a> {
    segment: &'a Segment,
    sums: &'a mut [f64],
    /// For each checkpoint the samples of this tensor; none without [`Samples`].
    samples: Vec<&'a mut [f32]>,
    stride: usize,
}

/// Cuts sums and samples by tensors.
fn tasks<'a>(
    layout: &'a Layout,
    mut sums: &'a mut [f64],
    samples: Option<(&'a mut [f32], usize, usize)>,
    checkpoints: usize,
) -> Vec<Task<'a>> {
    let (rows, columns, stride) = samples.unwrap_or((&mut [], 0, 1));
    let mut rows: Vec<&'a mut [f32]> = match columns {
        0 => Vec::new(),
        _ => rows.chunks_mut(columns).take(checkpoints).collect(),
    };
    let mut tasks = Vec::new();
    for segment in layout.segments() {
        let (own, rest) = std::mem::take(&mut sums).split_at_mut(segment.columns.len());
        sums = rest;
        let count = segment.columns.end.div_ceil(stride) - segment.columns.start.div_ceil(stride);
        let cut = |row: &mut &'a mut [f32]| {
            let (own, rest) = std::mem::take(row).split_at_mut(count);
            *row = rest;
            own
        };
        let samples = rows.iter_mut().map(cut).collect();
        tasks.push(Task {
            segment,
            sums: own,
            samples,
            stride,
        });
    }
    tasks
}

/// Reads one tensor of all checkpoints, window by window, and adds it up.
fn add_tensor(
    checkpoints: &[Checkpoint],
    weights: &[f64],
    mut task: Task<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let segment = task.segment;
    let mut readers = Vec::with_capacity(checkpoints.len());
    for checkpoint in checkpoints {
        readers.push(checkpoint.reader(find(checkpoint, segment)?, cancel)?);
    }
    let mut windows: [Scratch; AT_ONCE] = Default::default();
    let mut begin = 0;
    while begin < task.sums.len() {
        cancel.check()?;
        let end = (begin + WINDOW).min(task.sums.len());
        let sums = &mut task.sums[begin..end];
        for (part, readers) in readers.chunks_mut(AT_ONCE).enumerate() {
            let first = part * AT_ONCE;
            for (place, reader) in readers.iter_mut().enumerate() {
                let values = windows[place].next(reader, segment, end - begin)?;
                if let Some(samples) = task.samples.get_mut(first + place) {
                    keep(samples, values, segment.columns.start, begin, task.stride);
                }
            }
            let count = readers.len();
            add_windows(sums, &windows[..count], &weights[first..first + count]);
        }
        begin = end;
    }
    if segment.log_variance {
        for checkpoint in checkpoints {
            check(checkpoint, segment, cancel)?;
        }
    }
    Ok(())
}

/// Refuses a tensor with values that no row can have.
fn check(checkpoint: &Checkpoint, segment: &Segment, cancel: &Cancel) -> Result<()> {
    let mut reader = checkpoint.reader(find(checkpoint, segment)?, cancel)?;
    let mut scratch = Scratch::default();
    let mut seen = Seen::of(segment, None);
    let mut left = segment.columns.len();
    while left > 0 {
        cancel.check()?;
        let count = left.min(WINDOW);
        seen.add(&[], scratch.next(&mut reader, segment, count)?);
        left -= count;
    }
    seen.check(checkpoint)
}

/// The window that was read last, as the file has it and as numbers.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Scratch {
    /// Reads the next `count` numbers of a tensor.
    fn next(
        &mut self,
        reader: &mut TensorReader<'_>,
        segment: &Segment,
        count: usize,
    ) -> Result<&[f32]> {
        self.values.resize(count, 0.0);
        if segment.dtype.is_f32() {
            reader.read(bytemuck::cast_slice_mut(&mut self.values))?;
        } else {
            let bytes = reader.next_chunk(count * segment.dtype.size(), &mut self.bytes)?;
            segment.dtype.to_f32(bytes, &mut self.values);
        }
        Ok(&self.values)
    }
}

/// Adds `weight` times each value.
///
/// Compiled for several instruction sets; the best one is taken at run time.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn add(sums: &mut [f64], values: &[f32], weight: f64) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += weight * f64::from(value);
    }
}

/// Adds up to four windows, one after the other.
fn add_windows(sums: &mut [f64], windows: &[Scratch], weights: &[f64]) {
    if let ([a, b, c, d], &[wa, wb, wc, wd]) = (windows, weights) {
        let values = [&a.values[..], &b.values, &c.values, &d.values];
        return add_four(sums, values, [wa, wb, wc, wd]);
    }
    for (window, &weight) in windows.iter().zip(weights) {
        add(sums, &window.values, weight);
    }
}

/// Adds four checkpoints, one after the other for each sum, which is read and written once.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn add_four(sums: &mut [f64], [a, b, c, d]: [&[f32]; 4], [wa, wb, wc, wd]: [f64; 4]) {
    for ((((sum, &a), &b), &c), &d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum += wa * f64::from(a);
        *sum += wb * f64::from(b);
        *sum += wc * f64::from(c);
        *sum += wd * f64::from(d);
    }
}

/// Keeps the values of a window whose column in the row is a multiple of `stride`.
fn keep(samples: &mut [f32], values: &[f32], column: usize, begin: usize, stride: usize) {
    let first = (column + begin).div_ceil(stride) * stride;
    let skipped = (column + begin).div_ceil(stride) - column.div_ceil(stride);
    let places = (first - column - begin..values.len()).step_by(stride);
    for (sample, place) in samples[skipped..].iter_mut().zip(places) {
        *sample = values[place];
    }
}

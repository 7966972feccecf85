use super::*;

const WHOLE: Patches = Patches {
    stride: 0,
    before: 0,
};

/// Inputs of three places of two channels; a padded convolution of width 3 with stride 2 to three channels, its
/// sum with itself, the mean of its two places, and a product of that to four classes.
struct Example {
    network: Network,
    logits: Range<usize>,
    folded: Vec<Folded>,
    weights: [Vec<f32>; 2],
}

fn example() -> Example {
    let mut network = Network::default();
    let input = network.room(3 * 2).unwrap();
    let [conv, sum, mean, logits] = [6, 6, 3, 4].map(|rows| network.room(rows).unwrap());
    let patches = Patches {
        stride: 4,
        before: 2,
    };
    network
        .product(input..6, patches, 6, conv, 3, 2, true)
        .unwrap();
    network.sum(vec![conv, conv], sum, 6, 1.0, false).unwrap();
    network
        .sum(vec![sum, sum + 3], mean, 3, 2.0, false)
        .unwrap();
    network
        .product(mean..mean + 3, WHOLE, 3, logits, 4, 1, false)
        .unwrap();
    let weights = [3 * 2 * 3, 4 * 3].map(|count| (0..count).map(number).collect::<Vec<_>>());
    let folded = vec![
        Folded::new(&weights[0], [3, 2, 3], Some(&[0.1, 0.2, 0.3]), None),
        Folded::new(&weights[1], [4, 3, 1], None, None),
    ];
    Example {
        network,
        logits: logits..logits + 4,
        folded,
        weights,
    }
}

fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0
}

/// The logits of inputs [3 places][2 channels], written down as one would.
fn logits(weights: &[Vec<f32>; 2], x: [[f32; 2]; 3]) -> Vec<f32> {
    let at = |place: usize, channel: usize| match place.checked_sub(1) {
        Some(place) if place < 3 => x[place][channel],
        _ => 0.0,
    };
    let mut mean = [0.0; 3];
    for (o, mean) in mean.iter_mut().enumerate() {
        for place in 0..2 {
            let mut sum = [0.1, 0.2, 0.3][o];
            for c in 0..2 {
                for p in 0..3 {
                    sum += weights[0][(o * 2 + c) * 3 + p] * at(2 * place + p, c);
                }
            }
            *mean += sum.max(0.0);
        }
    }
    let rows = weights[1].chunks(3);
    rows.map(|row| row.iter().zip(mean).map(|(w, x)| w * x).sum())
        .collect()
}

#[test]
fn margins_are_those_of_the_network_for_any_number_of_threads() {
    const N: usize = 2 * SAMPLES + 5;
    let example = example();
    let samples: Vec<[[f32; 2]; 3]> = (0..N)
        .map(|n| std::array::from_fn(|p| std::array::from_fn(|c| number(n * 31 + p * 2 + c))))
        .collect();
    let mut inputs = vec![[0.0; SAMPLES]; 3 * 6];
    for (n, x) in samples.iter().enumerate() {
        for p in 0..3 {
            for c in 0..2 {
                inputs[n / SAMPLES * 6 + p * 2 + c][n % SAMPLES] = x[p][c];
            }
        }
    }
    let targets: Vec<i64> = (0..N as i64).map(|n| n % 4).collect();
    let mut found = Vec::new();
    for threads in [0, 1, 3] {
        let mut out = vec![f32::NAN; 2 * N];
        let models: [&[Folded]; 2] = [&example.folded, &example.folded];
        example
            .network
            .margins(
                &inputs,
                &models,
                example.logits.clone(),
                (&targets, &mut out),
                threads,
                &Cancel::default(),
            )
            .unwrap();
        assert_eq!(out[..N], out[N..]);
        found.push(out);
    }
    assert!(found.iter().all(|out| *out == found[0]));
    for (n, x) in samples.iter().enumerate() {
        let mut logits = logits(&example.weights, *x);
        let own = logits.swap_remove(n % 4);
        let other = logits.into_iter().fold(f32::NEG_INFINITY, f32::max);
        assert!((found[0][n] - (own - other)).abs() < 1e-5);
    }
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let mut network = Network::default();
    assert_eq!(network.room(10).unwrap(), 0);
    assert_eq!(network.room(2).unwrap(), 10);
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert_eq!(
        message(network.product(0..13, WHOLE, 5, 10, 1, 2, false)),
        "rows 0 to 13; accepted: up to 12"
    );
    assert_eq!(
        message(network.product(0..7, WHOLE, 3, 5, 1, 2, false)),
        "a product of rows 0..7 to rows 5..7; accepted: rows apart"
    );
    assert_eq!(
        message(network.product(0..4, WHOLE, 0, 5, 1, 1, false)),
        "a product of nothing; accepted: at least one number"
    );
    assert_eq!(
        message(network.sum(vec![0, usize::MAX], 8, 2, 1.0, true)),
        format!("rows {} to {}; accepted: up to 12", usize::MAX, usize::MAX)
    );
    let rows = network.room(LARGEST).unwrap_err().to_string();
    assert_eq!(rows, "1048576 more rows after 12; accepted: 1048576 in all");
    let out = &mut [0.0; 1][..];
    let result = network.margins(
        &[[0.0; SAMPLES]; 2],
        &[&[]],
        11..13,
        (&[0], out),
        1,
        &Cancel::default(),
    );
    assert_eq!(message(result), "rows 11 to 13; accepted: up to 12");
}

#[test]
fn room_made_later_is_there() {
    let mut network = Network::default();
    network.room(1).unwrap();
    let margins = |network: &Network, row: usize| {
        let mut out = [f32::NAN];
        let none = Cancel::default();
        network
            .margins(
                &[[3.0; SAMPLES]],
                &[&[]],
                row..row + 1,
                (&[0], &mut out),
                1,
                &none,
            )
            .unwrap();
        out[0]
    };
    assert_eq!(margins(&network, 0), f32::INFINITY);
    let row = network.room(5).unwrap();
    network.sum(vec![0], row, 1, 1.0, true).unwrap();
    assert_eq!(margins(&network, row), f32::INFINITY);
}

#[test]
fn a_requested_stop_interrupts() {
    let example = example();
    let cancel = Cancel::default();
    cancel.request();
    let result = example.network.margins(
        &[[0.0; SAMPLES]; 6],
        &[&example.folded],
        example.logits.clone(),
        (&[0], &mut [0.0]),
        1,
        &cancel,
    );
    assert!(matches!(result, Err(Error::Interrupted)));
}

//! `lstm` against a twin that goes gate by gate and unit by unit in `f64`.

use super::*;

fn numbers(shape: &[usize], seed: usize) -> Arc<Tensor> {
    let count = shape.iter().product::<usize>();
    let v = (0..count).map(|i| ((i * 7 + seed * 5) % 13) as f32 / 8.0 - 0.75).collect::<Vec<_>>();
    Arc::new(Tensor::new(shape, v).unwrap())
}

fn direction_of(units: usize, columns: usize, seed: usize, reverse: bool) -> Direction {
    Direction {
        reverse,
        weight_ih: numbers(&[4 * units, columns], seed),
        weight_hh: numbers(&[4 * units, units], seed + 1),
        bias: Some(numbers(&[4 * units], seed + 2)),
        peephole: None,
    }
}

fn layer(directions: Vec<Direction>, units: usize, columns: usize) -> Lstm {
    Lstm {
        directions,
        units,
        columns,
        sequence: true,
        recurrent: Activation::Sigmoid,
        cell: Activation::Tanh,
        output: Activation::Tanh,
        clip: None,
    }
}

/// Outputs of all steps in the order of time, and the last memory, of one sequence in one direction.
fn reference(d: &Direction, units: usize, x: &[Vec<f64>], h: &[f64], c: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let [ih, hh] = [&d.weight_ih, &d.weight_hh].map(|t| t.as_f32s().unwrap());
    let at =
        |t: &Option<Arc<Tensor>>, i: usize| t.as_ref().map_or(0.0, |t| f64::from(t.as_f32s().unwrap()[i]));
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let (mut h, mut c) = (h.to_vec(), c.to_vec());
    let mut out = vec![Vec::new(); x.len()];
    for i in 0..x.len() {
        let t = if d.reverse { x.len() - 1 - i } else { i };
        let sum = |row: usize| -> f64 {
            let input: f64 =
                x[t].iter().enumerate().map(|(k, v)| v * f64::from(ih[row * x[t].len() + k])).sum();
            let back: f64 = h.iter().enumerate().map(|(k, v)| v * f64::from(hh[row * units + k])).sum();
            input + back + at(&d.bias, row)
        };
        let unit = |(u, before): (usize, &f64)| {
            let input = sigmoid(sum(u) + at(&d.peephole, u) * before);
            let forget = sigmoid(sum(units + u) + at(&d.peephole, units + u) * before);
            let memory = forget * before + input * sum(3 * units + u).tanh();
            let output = sigmoid(sum(2 * units + u) + at(&d.peephole, 2 * units + u) * memory);
            (output * memory.tanh(), memory)
        };
        (h, c) = c.iter().enumerate().map(unit).unzip();
        out[t].clone_from(&h);
    }
    (out, c)
}

fn assert_agrees(layer: &Lstm, steps: usize, batch: usize) {
    let (units, width) = (layer.units, layer.units * layer.directions.len());
    let x = numbers(&[steps, batch, layer.columns], 3);
    let (h, c) = (numbers(&[batch, width], 8), numbers(&[batch, width], 9));
    let out = layer.run(vec![x.clone(), h.clone(), c.clone()]).unwrap();
    let wide = |t: &Tensor, from: usize, n: usize| -> Vec<f64> {
        t.as_f32s().unwrap()[from..from + n].iter().map(|v| f64::from(*v)).collect()
    };
    let near = |found: &[f64], expected: &[f64]| {
        found.iter().zip(expected).for_each(|(f, e)| assert!((f - e).abs() < 1e-5, "{found:?} {expected:?}"));
    };
    for n in 0..batch {
        let row = |t: usize| wide(&x, (t * batch + n) * layer.columns, layer.columns);
        let sequence: Vec<Vec<f64>> = (0..steps).map(row).collect();
        for (i, d) in layer.directions.iter().enumerate() {
            let at = n * width + i * units;
            let (ys, memory) = reference(d, units, &sequence, &wide(&h, at, units), &wide(&c, at, units));
            let last = if d.reverse { 0 } else { steps - 1 };
            if layer.sequence {
                ys.iter()
                    .enumerate()
                    .for_each(|(t, y)| near(&wide(&out[0], t * batch * width + at, units), y));
            } else {
                assert_eq!(out[0].shape(), [1, batch, width]);
                near(&wide(&out[0], at, units), &ys[last]);
            }
            near(&wide(&out[1], at, units), &ys[last]);
            near(&wide(&out[2], at, units), &memory);
        }
    }
}

#[test]
fn every_direction_agrees_with_the_slow_twin() {
    for (steps, batch, units, columns) in [(1, 1, 1, 1), (5, 1, 3, 2), (3, 2, 5, 7), (4, 3, 2, 1)] {
        for directions in [vec![false], vec![true], vec![false, true]] {
            for sequence in [true, false] {
                let of = |(i, reverse): (usize, &bool)| direction_of(units, columns, 3 * i, *reverse);
                let directions = directions.iter().enumerate().map(of).collect();
                assert_agrees(&Lstm { sequence, ..layer(directions, units, columns) }, steps, batch);
            }
        }
    }
}

#[test]
fn peepholes_see_the_memory_and_a_missing_bias_is_zero() {
    let peephole = Some(numbers(&[9], 4));
    let direction = Direction { peephole, bias: None, ..direction_of(3, 2, 1, false) };
    assert_agrees(&layer(vec![direction], 3, 2), 4, 2);
}

#[test]
fn sums_are_clipped_before_their_activation() {
    let zero = |shape: &[usize]| Arc::new(Tensor::new(shape, vec![0f32; shape.iter().product()]).unwrap());
    let direction = Direction {
        reverse: false,
        weight_ih: Arc::new(Tensor::new(&[4, 1], vec![9.0f32, -9.0, 9.0, 9.0]).unwrap()),
        weight_hh: zero(&[4, 1]),
        bias: None,
        peephole: None,
    };
    let clipped = Lstm { clip: Some(0.5), cell: Activation::Linear, ..layer(vec![direction], 1, 1) };
    let x = Arc::new(Tensor::new(&[1, 1, 1], vec![1f32]).unwrap());
    let out = clipped.run(vec![x, zero(&[1, 1]), zero(&[1, 1])]).unwrap();
    let memory = sigmoid(0.5) * 0.5;
    for (found, expected) in [(&out[2], memory), (&out[1], sigmoid(0.5) * memory.tanh())] {
        assert!((found.as_f32s().unwrap()[0] - expected).abs() < 1e-6, "{found:?} {expected}");
    }
}

#[test]
fn no_steps_leave_the_state_as_it_was() {
    let (h, c) = (numbers(&[2, 3], 1), numbers(&[2, 3], 2));
    let op = Lstm { sequence: false, ..layer(vec![direction_of(3, 2, 1, false)], 3, 2) };
    let out = op.run(vec![numbers(&[0, 2, 2], 0), h.clone(), c.clone()]).unwrap();
    assert_eq!((out[0].as_f32s(), &out[1], &out[2]), (h.as_f32s(), &*h, &*c));
    let wrong = op.run(vec![numbers(&[1, 2, 3], 0), h, c]).unwrap_err();
    assert!(wrong.contains("expected [steps, batch, 2] and [batch, 3]"), "{wrong}");
}

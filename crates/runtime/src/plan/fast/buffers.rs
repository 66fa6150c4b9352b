//! Which values may share memory.

/// The life of a value: the step that writes it and the last one that reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) count: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// A buffer for each value, and the numbers that each buffer holds.
///
/// Two values share a buffer only if one is read for the last time before the other is written, in an earlier step.
pub(super) fn assign(lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|value| lives[*value].first);
    let mut places = vec![0; lives.len()];
    let mut sizes: Vec<usize> = Vec::new();
    let mut busy_until: Vec<usize> = Vec::new();
    for value in order {
        let life = lives[value];
        let free = (0..sizes.len()).filter(|buffer| busy_until[*buffer] < life.first);
        // The smallest that is large enough, else the largest, which then grows the least.
        let fit = |buffer: &usize| match sizes[*buffer] >= life.count {
            true => (0, sizes[*buffer]),
            false => (1, usize::MAX - sizes[*buffer]),
        };
        let buffer = free.min_by_key(fit).unwrap_or_else(|| {
            sizes.push(0);
            busy_until.push(0);
            sizes.len() - 1
        });
        sizes[buffer] = sizes[buffer].max(life.count);
        busy_until[buffer] = life.last.max(life.first);
        places[value] = buffer;
    }
    (places, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(count: usize, first: usize, last: usize) -> Life {
        Life { count, first, last }
    }

    #[test]
    fn values_share_what_is_free() {
        let lives = [life(10, 0, 1), life(20, 1, 2), life(5, 2, 3), life(30, 3, 3), life(8, 2, 9)];
        let (places, sizes) = assign(&lives);
        for (i, a) in lives.iter().enumerate() {
            assert!(sizes[places[i]] >= a.count);
            for (j, b) in lives.iter().enumerate().filter(|(j, _)| *j != i) {
                let apart = a.last < b.first || b.last < a.first;
                assert!(apart || places[i] != places[j], "{i} and {j} share a buffer");
            }
        }
        assert_eq!(sizes.len(), 3);
    }

    #[test]
    fn a_value_that_nobody_reads_is_alone_while_it_is_written() {
        let (places, _) = assign(&[life(1, 0, 0), life(1, 0, 0), life(1, 1, 1)]);
        assert_ne!(places[0], places[1]);
        assert!(places[2] == places[0] || places[2] == places[1]);
    }
}

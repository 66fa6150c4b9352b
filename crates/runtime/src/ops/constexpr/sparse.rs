//! Sparse tensors: a mask of the dense shape, and the elements where it is set.

/// The dense tensor: `nonzero` in order where `mask` is set, the default elsewhere.
///
/// # Errors
/// A mask that has not as many bits set as there are elements.
pub(crate) fn scatter<T: Copy + Default>(mask: &[u8], nonzero: &[T]) -> Result<Vec<T>, String> {
    let set = mask.iter().filter(|bit| **bit != 0).count();
    if set != nonzero.len() {
        return Err(format!("the mask has {set} bits set, expected {} for the elements", nonzero.len()));
    }
    let mut elements = nonzero.iter().copied();
    let at = |bit: &u8| if *bit == 0 { T::default() } else { elements.next().unwrap_or_default() };
    Ok(mask.iter().map(at).collect())
}

/// The elements of `dense` where `mask` is set.
pub(crate) fn pick<T: Copy>(mask: &[u8], dense: &[T]) -> Vec<T> {
    mask.iter().zip(dense).filter(|(bit, _)| **bit != 0).map(|(_, element)| *element).collect()
}

/// A mask of `shape` with each bit repeated `times` times along `axis`, which must be one of the shape's.
pub(crate) fn repeat(mask: &[u8], shape: &[usize], axis: usize, times: usize) -> Vec<u8> {
    let inner: usize = shape[axis + 1..].iter().product();
    if inner == 0 {
        return Vec::new();
    }
    mask.chunks(inner).flat_map(|row| std::iter::repeat_n(row, times)).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scattered_is_picked_again() {
        let mask = [1, 0, 0, 1, 1, 0];
        let dense = scatter(&mask, &[5.0f32, 0.0, -1.0]).unwrap();
        assert_eq!(dense, [5.0, 0.0, 0.0, 0.0, -1.0, 0.0]);
        assert_eq!(pick(&mask, &dense), [5.0, 0.0, -1.0]);
    }

    #[test]
    fn a_mask_of_another_count_is_refused() {
        for nonzero in [&[1u8][..], &[1, 2, 3]] {
            let problem = scatter(&[1, 0, 1], nonzero).unwrap_err();
            assert!(problem.starts_with("the mask has 2 bits set, expected"), "{problem}");
        }
    }

    #[test]
    fn bits_are_repeated_along_any_axis() {
        assert_eq!(repeat(&[1, 0, 0, 1], &[2, 2], 0, 2), [1, 0, 1, 0, 0, 1, 0, 1]);
        assert_eq!(repeat(&[1, 0, 0, 1], &[2, 2], 1, 2), [1, 1, 0, 0, 0, 0, 1, 1]);
        assert!(repeat(&[], &[2, 0], 0, 3).is_empty());
    }
}

//! Some of many, evenly.

/// `count` of `all`, evenly spread over them, as pictures are often sorted by class; all where there are no more.
pub fn spread<T: Copy>(all: &[T], count: usize) -> Vec<T> {
    let count = count.min(all.len());
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn some_of_many_are_evenly_spread() {
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6], 3), [0, 2, 4]);
        assert_eq!(spread(&['a', 'b'], 5), ['a', 'b']);
        assert!(spread::<u8>(&[], 5).is_empty() && spread(&[1], 0).is_empty());
    }
}

//! Buffers that are given back and taken again.

/// Free buffers.
#[derive(Default)]
pub(crate) struct Arena {
    floats: Vec<Vec<f32>>,
    bytes: Vec<Vec<u8>>,
}

/// The smallest buffer that holds `n`, cut to that length, or a new one.
fn take<T: Copy + Default>(free: &mut Vec<Vec<T>>, n: usize) -> Vec<T> {
    let fitting = free.iter().enumerate().filter(|(_, b)| b.capacity() >= n);
    let mut buffer = match fitting.min_by_key(|(_, b)| b.capacity()).map(|(i, _)| i) {
        Some(i) => free.swap_remove(i),
        None => return vec![T::default(); n],
    };
    if buffer.len() >= n {
        buffer.truncate(n);
    } else {
        buffer.resize(n, T::default());
    }
    buffer
}

impl Arena {
    /// `n` floats of any value.
    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        take(&mut self.floats, n)
    }

    /// `n` bytes of any value.
    pub(crate) fn places(&mut self, n: usize) -> Vec<u8> {
        take(&mut self.bytes, n)
    }

    pub(crate) fn give(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.floats.push(buffer);
        }
    }

    pub(crate) fn give_places(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 {
            self.bytes.push(buffer);
        }
    }

    /// Bytes of the free buffers.
    pub(crate) fn bytes(&self) -> usize {
        let floats: usize = self.floats.iter().map(Vec::capacity).sum();
        4 * floats + self.bytes.iter().map(Vec::capacity).sum::<usize>()
    }
}

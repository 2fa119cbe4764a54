//! Addresses on the device, for kernels and libraries.

/// An address on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ptr(pub(super) u64);

impl Ptr {
    /// None: what a kernel may leave out.
    pub(super) const NULL: Self = Self(0);

    /// Bytes, up to 256, that it is a multiple of.
    pub(super) fn alignment(self) -> u32 {
        1 << self.0.trailing_zeros().min(8)
    }

    /// So many floats further on.
    pub(super) fn at(self, floats: usize) -> Self {
        Self(self.0 + 4 * floats as u64)
    }
}

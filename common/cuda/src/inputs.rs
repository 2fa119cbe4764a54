//! What a batch brings along, in buffers that stay where they are from step to step, so that a graph of a step that
//! was captured ([`crate::capture`]) finds the next batch where it found the first.

use crate::address::Ptr;
use crate::memory::Buffer;

/// Buffers of an engine for what a batch brings.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) labels: Option<Buffer>,
    pub(super) teacher: Option<Buffer>,
    /// Of views: see `render.cu`.
    pub(super) places: Option<Buffer>,
    pub(super) shots: Option<Buffer>,
}

/// What a batch is towards, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Targets {
    /// `[b, classes]`
    pub(super) labels: Ptr,
    /// The same, or none.
    pub(super) teacher: Ptr,
    /// Of the teacher, 0 without one.
    pub(super) alpha: f64,
    /// See [`executor::Loss`].
    pub(super) temperature: f64,
}

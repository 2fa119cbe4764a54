//! A pass as one launch: what goes down the stream is recorded once and replayed as a CUDA graph, which costs the host
//! one call instead of a few hundred (5 µs each, by estimate; CUDA C++ Programming Guide, "CUDA graphs").
//!
//! Launches are recorded with their arguments. So nothing that changes from step to step may be one: pictures, targets
//! and views are uploaded to buffers that stay ([`crate::inputs`]), and the update, whose learning rate and counts
//! change, is launched after the graph, kernel by kernel.

#![allow(unsafe_code)] // a graph moves between threads

use crate::device::closed;
use crate::failure::Told;
use crate::launch::Kernels;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{Result, bail};

/// Launches that were recorded.
pub(super) struct Captured {
    graph: CudaGraph,
    launches: usize,
}

// SAFETY: a graph belongs to an executor, which one thread has at a time; graphs must not be used by two at once, but
// may move (CUDA driver API, "Graph object thread safety").
unsafe impl Send for Captured {}

impl Kernels {
    /// Records what `work` launches, which does not run.
    ///
    /// # Errors
    /// What `work` says; work that cannot be recorded, such as an allocation or a wait.
    pub(super) fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<Captured> {
        let (_closed, before) = (closed(), self.launches());
        // Other threads may allocate meanwhile, on streams of their own.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).told()?;
        self.set_captures(true);
        let worked = work();
        self.set_captures(false);
        // Ended in any case: a stream that is left in a capture takes nothing else. Buffers that failed work drops are
        // freed in the capture, which may be refused; cudarc keeps that error and tells it instead of ending anything
        // (0.19.10, `bind_to_thread`).
        let _ = self.stream.context().check_err();
        let ended = self.stream.end_capture(CUgraphInstantiate_flags(0));
        let launches = self.uncount(before);
        worked?;
        match ended.told()? {
            Some(graph) => Ok(Captured { graph, launches }),
            None => bail!("nothing was captured"),
        }
    }

    /// Runs what was recorded.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn replay(&self, captured: &Captured) -> Result<()> {
        self.count(captured.launches);
        captured.graph.launch().told()
    }
}

#[cfg(test)]
mod tests {
    use crate::launch::Kernels;
    use crate::memory::Memory;
    use std::sync::Arc;

    /// A device may allow an allocation in a capture; what it then gives is there while the graph runs, and no buffer.
    #[test]
    fn nothing_is_allocated_in_a_capture() {
        let kernels = Arc::new(Kernels::new(0).unwrap());
        let mut memory = Memory::new(&kernels);
        assert!(kernels.capture(|| memory.take(100).map(drop)).is_err());
        assert_eq!(memory.allocations(), 0);
        let buffer = memory.hold(&[1.0; 100]).unwrap();
        memory.give(buffer);
        // What is free may be taken.
        let captured = kernels.capture(|| memory.take(100).map(|b| memory.give(b))).unwrap();
        kernels.replay(&captured).unwrap();
        assert_eq!(memory.allocations(), 1);
    }
}

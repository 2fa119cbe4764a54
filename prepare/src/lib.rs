//! Readers for what other programs wrote; the binary beside this library turns it into artifacts.

pub mod checkpoint;

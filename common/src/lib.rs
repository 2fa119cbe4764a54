//! The nouns of the pipeline, used by every stage. A module uses only what stands above it.
//!
//! | module | what it is |
//! |---|---|
//! | [`array`] | a dense f32 tensor outside any framework |
//! | [`artifact`] | a file of named tensors with a header: the only door to disk |
//! | [`rng`] | randomness as a function of (seed, purpose, index) |
//! | [`photos`] | pictures from outside → u8 pixels of one size |
//! | [`images`] | prepared pictures with labels and names |
//! | [`graph`] | a network as data: nodes, shapes, counts, channel groups, folding |
//! | [`codec`] | weights ↔ few bytes |
//! | [`view`] | the k-th random view of picture i: crop, flip, colour, mixing |
//! | [`nets`] | network families, each a table of widths |
//! | [`model`] | graph + weights + how pictures must be prepared |
//! | [`plan`] | how a network is to be quantized to a budget |
//! | [`logits`] | a teacher's logits for views of pictures |
//! | [`network`] | a model that runs: forward pass, gradients |
//! | [`score`] | accuracy with its interval, the row every evaluation writes |
//! | [`cli`] | main wrapper, common flags, progress bars |
//! | [`fit`] | the one training loop, shared by `train` and `distill` |

pub mod array;
pub mod artifact;
pub mod cli;
pub mod codec;
pub mod fit;
pub mod graph;
pub mod images;
pub mod logits;
pub mod model;
pub mod nets;
pub mod network;
pub mod photos;
pub mod plan;
pub mod rng;
pub mod score;
pub mod view;

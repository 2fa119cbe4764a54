//! What several stages share, above the crates below: a module uses only what stands above it.
//!
//! | module | what it is | its customers |
//! |---|---|---|
//! | [`share`] | a share of n things, counted as it was written | `training`, `prepare images`, `prune` |
//! | [`spread`](spread::spread) | some of many, evenly | `prepare recipe`, `prune`, `quantize plan` |
//! | [`catalogue`] | which pictures a folder holds, their classes and splits | `prepare`, `infer` |
//! | [`sheet`] | a page of small pictures with a line each | `prepare check`, `report suspects` |
//! | [`device`] | which executor stands behind a name | every stage that computes |
//! | [`sizing`] | how large a fresh network is | `train`, `distill`, `bench` |
//! | [`forward`] | pictures → logits | `training`, `infer`, `quantize plan` |
//! | [`score`] | accuracy with its interval, the row every evaluation writes | `training`, `infer`, `quantize`, `report` |
//! | [`calibration`] | logits → probabilities, and how far they can be believed | `quantize pack`, `infer`, `report` |
//! | [`cost`] | seconds, pictures and memory of a stage, beside its output | `cli`, `report` |
//! | [`cli`] | main wrapper, common flags, progress bars | every stage |
//! | [`fresh`] | a fresh network: a family's, or one's own | `train`, `distill` |
//! | [`interrupt`] | Ctrl-C: save, stop, say how to go on | `run`, `infer logits`, `quantize plan` |
//! | [`training`] | the training loop | `train`, `distill` |
//! | [`run`] | a training run on disk: progress, files, going on after an interruption | `train`, `distill` |

pub mod calibration;
pub mod catalogue;
pub mod cli;
pub mod cost;
pub mod device;
pub mod forward;
pub mod fresh;
pub mod interrupt;
pub mod run;
pub mod score;
pub mod share;
pub mod sheet;
pub mod sizing;
pub mod spread;
pub mod training;

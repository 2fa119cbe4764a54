//! Artifacts: the files that stages read and write, one module per kind.
//!
//! Everything is read from bytes; opening paths is a thin layer on top ([`Artifact::read`], the `load`
//! functions), so that a program can also carry a model inside itself.
//!
//! | module | what it is |
//! |---|---|
//! | [`artifact`] | a file of named tensors with a header: the only door to disk |
//! | [`pictures`] | how pictures become a network's input |
//! | [`classes`] | class names: which make sense, whether two lists agree |
//! | [`images`] | prepared pictures with labels and names |
//! | [`folds`] | pictures parted, so that each can be answered by networks that did not see it |
//! | [`model`] | a network with its weights, plain or coded |
//! | [`head`] | a model's last layer, for other classes |
//! | [`calibration`] | what a shipped file's probabilities are worth |
//! | [`answers`] | a model's logits for labelled pictures |
//! | [`logits`] | a teacher's logits for views of pictures |
//! | [`plan`] | how a network is to be quantized to a budget |

pub mod answers;
pub mod artifact;
pub mod calibration;
pub mod classes;
pub mod folds;
pub mod head;
pub mod images;
pub mod logits;
pub mod model;
pub mod pictures;
pub mod plan;

pub use answers::Answers;
pub use artifact::{Artifact, Header, Kind, Provenance, Source};
pub use calibration::Calibration;
pub use folds::{Fold, Folds};
pub use head::Head;
pub use images::Images;
pub use logits::Logits;
pub use model::Model;
pub use pictures::{Framing, Input, Preparation};
pub use plan::Plan;

//! Any bytes as an artifact of ours, coded weights above all: a model or an error, never a panic, a
//! hang or memory out of proportion.
#![no_main]

use model::{Artifact, Model};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(artifact) = Artifact::parse("fuzzed", bytes.to_vec()) {
        let _ = Model::from_artifact(&artifact);
        let _ = Model::parts(&artifact);
    }
});

//! Any bytes as an artifact of ours, coded weights above all: a model or an error, never a panic, a
//! hang or memory out of proportion. Its sum is set right: nothing behind it would be reached otherwise.
#![no_main]

use artifacts::artifact::summed;
use artifacts::{Artifact, Model};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(artifact) = Artifact::parse("fuzzed", summed(bytes.to_vec())) {
        let _ = Model::from_artifact(&artifact);
        let _ = Model::parts(&artifact);
    }
});

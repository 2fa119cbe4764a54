//! Any bytes: tensors or an error, never a panic, a hang or memory out of proportion.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = checkpoint::read(bytes);
});

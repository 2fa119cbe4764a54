//! The checksum that an artifact carries of itself: the first 16 hexadecimal digits of BLAKE3 over the
//! whole file, with sixteen zeros where the digits stand.

use std::io::{Result, Write};
use std::ops::Range;

/// What stands in its place while it is computed.
pub(super) const ZEROS: &str = "0000000000000000";

/// What stands before it: it is the first thing in the header, which is JSON in a JSON string.
const BEFORE: &[u8] = b"{\\\"sum\\\":\\\"";

/// Where the digits stand in the JSON that opens a safetensors file.
pub(super) fn place(json: &[u8]) -> Option<Range<usize>> {
    let start = json.windows(BEFORE.len()).position(|w| w == BEFORE)? + BEFORE.len();
    let digits = start..start + ZEROS.len();
    (json.get(digits.clone())?.is_ascii()).then_some(digits)
}

/// The sum of `file`, whose digits stand at `place`.
pub(super) fn of(file: &[u8], place: Range<usize>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file[..place.start]).update(ZEROS.as_bytes()).update(&file[place.end..]);
    digits(&hasher)
}

fn digits(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex()[..ZEROS.len()].to_owned()
}

/// A writer that sums what passes.
pub(super) struct Summing<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Summing<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new() }
    }

    /// The sum of what passed.
    pub(super) fn digits(&self) -> String {
        digits(&self.hasher)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

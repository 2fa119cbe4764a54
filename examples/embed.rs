//! A program with a classifier inside: the file `MODEL` becomes part of it, nothing is read at run time.
//!
//! ```sh
//! make submission                        # makes artifacts/smoke/model.bin
//! cd examples && MODEL=../artifacts/smoke/model.bin cargo run --release --bin embed <pixels.rgb
//! ```
//!
//! It reads one picture from standard input, as R, G, B bytes of the size the model wants, row by row,
//! and prints the class. No candle, no picture formats, no threads: see `cargo tree`.

use anyhow::{Context, Result, ensure};
use engine::Network;
use executor::Executor;
use std::io::{Read, Write};

/// The file, from where `MODEL` says; a relative path begins in this folder.
const SHIPPED: &[u8] = include_bytes!(env!("MODEL", "say which file: MODEL=../model.bin cargo build"));

fn main() -> Result<()> {
    let (model, _) = artifacts::Model::parse(env!("MODEL"), SHIPPED.to_vec())?;
    let size = model.input.preparation.size;
    let mut pixels = Vec::new();
    std::io::stdin().read_to_end(&mut pixels).context("standard input")?;
    let expected = 3 * size * size;
    ensure!(pixels.len() == expected, "{} bytes, expected {expected}", pixels.len());
    let planes: Vec<u8> = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3).copied()).collect();
    let mut x = vec![0.0; expected];
    model.input.normalization.apply(&planes, &mut x);
    let mut network = Network::new(&model.graph, &model.weights, &model.grids, size)?;
    let logits = network.logits(&x)?;
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
    writeln!(std::io::stdout(), "{}", model.classes[best])?;
    Ok(())
}

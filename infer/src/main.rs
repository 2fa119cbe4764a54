//! Model + pictures → logits, an evaluation, predictions. See `infer --help`.

// A new operation or activation is to be asked about, not to be taken for another.
#![deny(clippy::wildcard_enum_match_arm)]

mod asking;
mod check;
mod eval;
mod export;
mod logits;
mod onnx;
mod predict;
mod protobuf;

use clap::Parser;
use std::process::ExitCode;

/// Run models on pictures.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Logits(logits::Logits),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Export(export::Export),
    Check(check::Check),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Logits(c) => c.run(),
        Command::Eval(c) => c.run(),
        Command::Predict(c) => c.run(),
        Command::Export(c) => c.run(),
        Command::Check(c) => c.run(),
    })
}

//! Model ↔ the file that ships, under a byte budget. See `quantize --help`.

#![deny(clippy::wildcard_enum_match_arm)]

mod calibrate;
mod pack;
mod plan;
mod rounding;
mod state_dict;
mod unpack;

use clap::Parser;
use std::process::ExitCode;

/// Code a model into few bytes, and back.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Plan(plan::Plan),
    Pack(pack::Pack),
    Unpack(unpack::Unpack),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Plan(c) => c.run(),
        Command::Pack(c) => c.run(),
        Command::Unpack(c) => c.run(),
    })
}

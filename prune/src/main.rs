//! Model → smaller model; never trains. See `prune --help`.

mod calibration;
mod channels;
mod files;
mod importance;
mod limits;
mod low_rank;
mod svd;

use clap::Parser;
use std::process::ExitCode;

/// Make a model smaller. What is left should be trained further: distill --init.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Channels(channels::Channels),
    LowRank(low_rank::LowRank),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Channels(c) => c.run(),
        Command::LowRank(c) => c.run(),
    })
}

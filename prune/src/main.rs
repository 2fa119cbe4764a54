//! Model → smaller model; never trains. See `prune --help`.

mod channels;

use clap::Parser;
use std::process::ExitCode;

/// Cut a model down. What is left should be trained further: distill --init.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Channels(channels::Channels),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Channels(c) => c.run(),
    })
}

//! From the outside world to our files: pictures. See `prepare --help`.

mod images;

use clap::Parser;
use std::process::ExitCode;

/// Bring pictures in: decode, resize and pack a folder into one artifact.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Images(images::Images),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Images(c) => c.run(),
    })
}

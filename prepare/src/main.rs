//! From the outside world to our files: pictures and weights. See `prepare --help`.

#![deny(clippy::wildcard_enum_match_arm)]

mod draft;
mod evidence;
mod feeding;
mod images;
mod model;
mod names;
mod nearest;

use clap::Parser;
use std::process::ExitCode;

/// Bring pictures and weights in.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Images(images::Images),
    Model(model::Model),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Images(c) => c.run(),
        Command::Model(c) => c.run(),
    })
}

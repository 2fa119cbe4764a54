//! From the outside world to our files: pictures and weights. See `prepare --help`.

#![deny(clippy::wildcard_enum_match_arm)]

mod catalogue;
mod check;
mod draft;
mod evidence;
mod feeding;
mod images;
mod model;
mod names;
mod nearest;
mod recipe;

use clap::Parser;
use common::cli::Outcome;
use std::process::ExitCode;

/// Bring pictures and weights in.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Catalogue(catalogue::Catalogue),
    Check(check::Check),
    Images(images::Images),
    Model(model::Model),
    Recipe(recipe::Recipe),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Catalogue(c) => c.run().map(Outcome::from),
        Command::Check(c) => c.run(),
        Command::Images(c) => c.run().map(Outcome::from),
        Command::Model(c) => c.run().map(Outcome::from),
        Command::Recipe(c) => c.run().map(Outcome::from),
    })
}

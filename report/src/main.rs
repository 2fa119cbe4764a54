//! What artifacts hold and what evaluations found. See `report --help`.

mod show;
mod table;

use clap::Parser;
use std::process::ExitCode;

/// Look into artifacts and put evaluations side by side.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Show(show::Show),
    Table(table::Table),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Show(c) => c.run(),
        Command::Table(c) => c.run(),
    })
}

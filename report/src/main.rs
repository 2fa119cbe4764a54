//! What artifacts hold and what evaluations found. See `report --help`.

mod compare;
mod ledger;
mod page;
mod show;
mod statistics;
mod table;
mod tables;

use clap::Parser;
use std::process::ExitCode;

/// Look into artifacts and put evaluations side by side.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Compare(compare::Compare),
    Ledger(ledger::Ledger),
    Page(page::Page),
    Show(show::Show),
    Table(table::Table),
    Tables(tables::Tables),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Compare(c) => c.run(),
        Command::Ledger(c) => c.run(),
        Command::Page(c) => c.run(),
        Command::Show(c) => c.run(),
        Command::Table(c) => c.run(),
        Command::Tables(c) => c.run(),
    })
}

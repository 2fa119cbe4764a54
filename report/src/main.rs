//! What artifacts hold and what evaluations found. See `report --help`.

mod bootstrap;
mod compare;
mod field;
mod gather;
mod graph;
mod ledger;
mod page;
mod show;
mod statistics;
mod suspects;
mod table;

use clap::Parser;
use std::process::ExitCode;

/// Look into artifacts and put evaluations side by side.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    Compare(compare::Compare),
    #[command(alias = "tables")]
    Gather(gather::Gather),
    Graph(graph::Graph),
    Ledger(ledger::Ledger),
    Page(page::Page),
    Show(show::Show),
    Suspects(suspects::Suspects),
    Table(table::Table),
}

fn main() -> ExitCode {
    common::cli::main(|| match Command::parse() {
        Command::Compare(c) => c.run(),
        Command::Gather(c) => c.run(),
        Command::Graph(c) => c.run(),
        Command::Ledger(c) => c.run(),
        Command::Page(c) => c.run(),
        Command::Show(c) => c.run(),
        Command::Suspects(c) => c.run(),
        Command::Table(c) => c.run(),
    })
}

//! The CSV files of `report gather` → report.pdf, report.html and the charts. See `typeset --help`.

mod chapters;
mod charts;
mod data;
mod document;
mod html;
mod pdf;
mod words;

use anyhow::{Context, Result};
use artifacts::artifact;
use clap::Parser;
use common::cli::{self, count};
use data::Data;
use std::path::PathBuf;
use std::process::ExitCode;
use words::Language;

/// Typeset the report: tables of report gather → a PDF, a web page, and the charts as SVG.
///
/// Every sentence that compares says what the paired tests found, and no more.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  make report                                                   # experiments, tables, and this
  typeset --data artifacts/smoke/report/data --out artifacts/smoke/report --lang zh"
)]
struct Typeset {
    /// Folder of the CSV files.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Folder for report.pdf, report.html and figures/*.svg; made where it is missing.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Language of the report.
    #[arg(long, value_enum, default_value = "en")]
    lang: Language,
    /// What the recipe is called.
    #[arg(long, default_value = "smoke")]
    recipe: String,
    /// One more font (TTF or OTF) for the PDF, where class names use letters that the built-in ones lack.
    #[arg(long, value_name = "FILE")]
    font: Option<PathBuf>,
}

fn main() -> ExitCode {
    cli::main(|| run(&Typeset::parse()))
}

fn run(args: &Typeset) -> Result<String> {
    let data = Data::load(&args.data)?;
    let font = args
        .font
        .as_ref()
        .map(|f| std::fs::read(f).with_context(|| format!("cannot read the font {}", f.display())));
    let font = font.transpose()?;
    let figures = args.out.join("figures");
    std::fs::create_dir_all(&figures)
        .with_context(|| format!("cannot make {}", figures.display()))?;
    let bar = cli::progress(3, "typesetting");
    let document = chapters::document(&data, args.lang, &args.recipe);
    for chart in document.charts() {
        let path = figures.join(format!("{}.svg", chart.name));
        artifact::save_bytes(&path, chart.svg.as_bytes())?;
    }
    bar.inc(1);
    artifact::save_bytes(&args.out.join("report.html"), html::html(&document).as_bytes())?;
    bar.inc(1);
    let pdf = pdf::pdf(&document, font)?;
    let file = args.out.join("report.pdf");
    artifact::save_bytes(&file, &pdf)?;
    bar.finish_and_clear();
    let charts = document.charts().count();
    Ok(format!(
        "{}: {} bytes, {charts} charts; report.html beside it",
        file.display(),
        count(pdf.len())
    ))
}

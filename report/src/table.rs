//! `report table`: evaluations side by side.

use anyhow::Result;
use artifacts::artifact;
use comfy_table::{CellAlignment, Table as Cells, presets};
use common::cli::count;
use common::score::Row;
use std::path::{Path, PathBuf};

/// Print a table of evaluations written by infer eval.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  report table artifacts/smoke/eval/teacher.csv artifacts/smoke/eval/shipped.csv")]
pub(crate) struct Table {
    /// CSV files, in the order of the rows.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where to write the table; without it, it is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Table {
    pub(crate) fn run(self) -> Result<String> {
        let inputs: Vec<&Path> = self.files.iter().map(PathBuf::as_path).collect();
        let claim = |out| artifact::claim(out, &inputs);
        let _claim = self.out.as_deref().map(claim).transpose()?;
        let mut table = Cells::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "model",
            "parameters",
            "bytes",
            "top-1",
            "95 % interval",
            "pictures",
        ]);
        for file in &self.files {
            for row in Row::load(file)? {
                table.add_row([
                    row.name,
                    count(row.parameters).to_string(),
                    count(row.bytes).to_string(),
                    format!("{:.4}", row.top1),
                    format!("{:.4} to {:.4}", row.low, row.high),
                    count(row.pictures).to_string(),
                ]);
            }
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let text = table.trim_fmt();
        let Some(out) = self.out else { return Ok(text) };
        artifact::save_bytes(&out, format!("{text}\n").as_bytes())?;
        Ok(format!("{}: {} evaluations", out.display(), self.files.len()))
    }
}

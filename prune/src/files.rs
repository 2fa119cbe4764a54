//! What both commands have in common: the model they read, the pictures, where the smaller one goes.

use crate::calibration::{Calibration, Count, Pictures};
use crate::limits::Limits;
use anyhow::Result;
use artifacts::artifact::{self, Claim};
use artifacts::{Model, Provenance, Source};
use common::cli;
use common::device::Device;
use graph::grid::Grids;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Flags that name files, and what is done with them.
#[derive(clap::Args)]
pub(crate) struct Files {
    /// Model to make smaller.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Print what would become of every layer, and the bytes of the coded file; write nothing.
    #[arg(long, alias = "plan")]
    dry_run: bool,
    /// Where to write the smaller model.
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    compute: cli::Compute,
}

/// The files, read.
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) calibration: Option<Calibration>,
    source: Source,
    device: Device,
    _claim: Option<Claim>,
}

/// What the header keeps.
#[derive(Serialize)]
struct Record<'a, S> {
    #[serde(flatten)]
    selection: &'a S,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pictures: Option<&'a Count>,
    #[serde(skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

impl Files {
    /// Claims the output, reads the inputs.
    ///
    /// # Errors
    /// An output that cannot be written, inputs that cannot be read or do not fit together.
    pub(crate) fn open(&self) -> Result<Opened> {
        let device = self.compute.start()?;
        let inputs: Vec<&Path> = [Some(&self.model), self.pictures.images.as_ref()]
            .into_iter()
            .flatten()
            .map(|p| &**p)
            .collect();
        let claim = |out| artifact::claim(out, &inputs);
        let claim = self.out.as_deref().map(claim).transpose()?;
        let (mut model, source) = Model::load(&self.model)?;
        model.grids = Grids::new(); // what is made smaller leaves the grids it may have been on
        let calibration = self.pictures.load(&model, device)?;
        Ok(Opened { model, calibration, source, device, _claim: claim })
    }

    /// Prints what would become of the layers, or recalibrates and writes the smaller model, made by
    /// `stage` with `selection`; one line about it.
    ///
    /// # Errors
    /// What the file system says; pictures that do not fit the network.
    pub(crate) fn finish(
        &self,
        opened: &Opened,
        smaller: Model,
        limits: &Limits,
        stage: &str,
        selection: &impl Serialize,
    ) -> Result<String> {
        let Opened { model, calibration, source, device, .. } = opened;
        let change = format!(
            "{} parameters left of {}",
            cli::count(smaller.graph.parameter_count()),
            cli::count(model.graph.parameter_count()),
        );
        let Some(out) = self.out.as_ref().filter(|_| !self.dry_run) else {
            cli::print(&limits.table(model, &smaller)?)?;
            return Ok(change);
        };
        let pictures = calibration.as_ref().map(|_| &self.pictures.count);
        let mut provenance =
            Provenance::new(stage, &Record { selection, pictures, device: *device })?
                .from("model", source);
        let mut told = format!("{}: {change}", out.display());
        let smaller = match calibration {
            None => smaller,
            Some(c) => {
                provenance = provenance.from("images", c.source());
                let pictures = cli::count(c.pictures());
                told += &format!(", batch norm recalibrated on {pictures} pictures");
                c.recalibrated(smaller)?
            }
        };
        smaller.save(out, &provenance)?;
        cli::record(out, stage, calibration.as_ref().map_or(0, Calibration::pictures));
        Ok(told)
    }
}

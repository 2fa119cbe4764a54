//! What a packed file's probabilities are worth: measured on labelled pictures, written into its header.

use anyhow::Result;
use artifacts::{Calibration, Images, Model, Source};
use common::calibration::{self, reliability};
use common::cli;
use common::device::Device;
use common::forward::forward_views;
use common::share::Share;
use std::path::{Path, PathBuf};

/// Bins of the calibration error, as in Guo et al. 2017, section 5.
const BINS: usize = 15;

/// Fewest pictures that say anything: of 30 a probability is known to a tenth, and of fewer a temperature is
/// one picture's.
const LEAST: usize = 30;

/// Flags of `quantize pack`.
#[derive(clap::Args)]
pub(crate) struct Calibrate {
    /// Labelled pictures that the model was not trained on: they are answered by the packed weights, with the file's
    /// views, and what they show is written into the file: a temperature that makes probabilities believable, and the
    /// probability below which an answer is "none of these". Fewer than 30 say nothing, and nothing is written of
    /// them.
    #[arg(long, value_name = "IMAGES")]
    calibrate: Option<PathBuf>,
    /// Largest share of these pictures that may be called none of the classes.
    #[arg(long, value_name = "SHARE", default_value = "0.05", requires = "calibrate")]
    false_reject: Share,
}

/// What was measured.
pub(crate) struct Measured {
    /// For the header.
    pub(crate) calibration: Calibration,
    /// The pictures.
    pub(crate) images: Source,
    /// For the user: before and after.
    pub(crate) told: String,
}

impl Calibrate {
    /// The pictures, where there are any.
    pub(crate) fn images(&self) -> Option<&Path> {
        self.calibrate.as_deref()
    }

    /// Asks `packed`, a model with the weights that the file will hold; None where no pictures were given.
    pub(crate) fn measure(&self, packed: &Model) -> Result<Option<Measured>> {
        let Some(path) = &self.calibrate else { return Ok(None) };
        let images = Images::load(path)?;
        packed.check_images(&images)?;
        let labels = images.all_labels()?;
        if labels.len() < LEAST {
            cli::note(&format!(
                "{}: {} pictures are too few to calibrate by, {LEAST} at least are needed: the file says nothing \
                 of its probabilities",
                images.source.name,
                labels.len()
            ));
            return Ok(None);
        }
        let mut executor = Device::Cpu.executor(packed)?;
        let bar = cli::progress(images.len(), "calibrating");
        let tick = |n| bar.inc(n as u64);
        let pixels = |i| Ok(Some(images.pixels(i)));
        let logits = forward_views(&mut *executor, images.len(), packed, pixels, tick)?;
        let logits = packed.views.mean(&logits, packed.classes.len());
        bar.finish_and_clear();
        let calibration = calibration::fit(&logits, &labels, self.false_reject)?;
        let Calibration { temperature, threshold, rejected } = calibration;
        let rows = || logits.chunks_exact(packed.classes.len());
        let [before, after] = [1.0, temperature].map(|t| reliability(rows(), &labels, t, BINS));
        let told = format!(
            "\ncalibrated on {} pictures: temperature {temperature}, calibration error {:.4} → {:.4} \
             ({BINS} bins), mean negative log-likelihood {:.4} → {:.4}; none of the classes below \
             {threshold}, which {:.2} % of these pictures are",
            cli::count(labels.len()),
            before.error,
            after.error,
            before.nll,
            after.nll,
            100.0 * rejected,
        );
        Ok(Some(Measured { calibration, images: images.source, told }))
    }
}

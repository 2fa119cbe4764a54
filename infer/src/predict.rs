//! `infer predict`: pictures → a CSV of class numbers.

use anyhow::{Context, Result};
use common::artifact;
use common::cli;
use common::model::Model;
use common::network::Inference;
use common::photos;
use common::score;
use common::view;
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

/// Pictures decoded at a time: bounds memory.
const CHUNK: usize = 64;

/// Predict the class of every picture in a folder.
///
/// Writes a CSV "Id,label", one line per picture in the order of the file names; the id is the
/// file name without extension and leading zeros. Pictures are prepared as the model says.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer predict --model model.bin --photos food-11/testing --out prediction.csv")]
pub(crate) struct Predict {
    /// Model to ask, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder of .jpg, .jpeg and .png files.
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    /// Where to write the CSV.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    compute: cli::Compute,
}

impl Predict {
    pub(crate) fn run(self) -> Result<String> {
        self.compute.start()?;
        let (model, _) = Model::load(&self.model)?;
        let network = Inference::new(&model)?;
        let paths = photos::list(&self.photos)?;
        // Fail before the work, not after it.
        artifact::scratch(&self.out)?;
        let bar = cli::progress(paths.len(), "pictures");
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["Id", "label"])?;
        // The next pictures are decoded while the network looks at these.
        let (sender, receiver) = sync_channel(1);
        std::thread::scope(|scope| {
            let (paths, model) = (&paths, &model);
            scope.spawn(move || {
                for chunk in paths.chunks(CHUNK) {
                    let decoded = decode(chunk, model);
                    let failed = decoded.is_err();
                    if sender.send(decoded).is_err() || failed {
                        return;
                    }
                }
            });
            // The receiver goes with the error, which ends the other thread.
            let receiver = receiver;
            for chunk in paths.chunks(CHUNK) {
                let x = receiver.recv().context("the thread that decodes stopped")??;
                let logits = network.logits(&x)?;
                for (path, row) in chunk.iter().zip(logits.chunks_exact(network.classes())) {
                    let name = path.file_name().and_then(|n| n.to_str());
                    let name = name.with_context(|| format!("{}: not UTF-8", path.display()))?;
                    csv.write_record([photos::id_of(name), score::argmax(row).to_string()])?;
                }
                bar.inc(chunk.len() as u64);
            }
            Ok::<_, anyhow::Error>(())
        })?;
        bar.finish_and_clear();
        artifact::save_bytes(&self.out, &csv.into_inner()?)?;
        Ok(format!("{}: {} predictions", self.out.display(), paths.len()))
    }
}

/// The pictures as the network wants them, `[n, size, size, 3]`.
fn decode(paths: &[PathBuf], model: &Model) -> Result<Vec<f32>> {
    let how = model.input.preparation;
    let mut x = vec![0.0; paths.len() * how.bytes()];
    x.par_chunks_mut(how.bytes()).zip(paths).try_for_each(|(x, path)| {
        let pixels = photos::prepare(path, &how)?;
        view::plain(&pixels, &model.input.normalization, x);
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(x)
}

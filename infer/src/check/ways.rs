//! The ways to an answer: executors of this program, and programs that run an export.

use super::child::Child;
use crate::export;
use anyhow::{Context, Result, ensure};
use artifacts::{Model, Source};
use common::device::{Device, Wanted};
use executor::Executor;
use std::path::{Path, PathBuf};
use views::FixedViews;

/// Pictures, as every way takes them.
pub(super) struct Batch<'a> {
    /// Their files.
    pub(super) paths: &'a [PathBuf],
    /// Prepared: planes R, G, B each.
    pub(super) planes: Vec<Vec<u8>>,
    /// Their views, normalized, as networks read them.
    x: Vec<f32>,
    views: FixedViews,
}

impl<'a> Batch<'a> {
    /// Pictures for `model`, with their prepared planes.
    pub(super) fn new(paths: &'a [PathBuf], planes: Vec<Vec<u8>>, model: &Model) -> Self {
        let Model { views, input, .. } = model;
        let (size, one) = (input.preparation.size, input.preparation.bytes());
        let mut x = vec![0.0; planes.len() * views.count() * one];
        for (i, x) in x.chunks_exact_mut(one).enumerate() {
            let (planes, k) = (&planes[i / views.count()], i % views.count());
            views.render(k, planes, size, &input.normalization, x);
        }
        Self { paths, planes, x, views: *views }
    }
}

/// Logits of each picture of a batch; None of one that this way refuses on purpose.
pub(super) type Answers = Vec<Option<Vec<f32>>>;

/// A way to an answer.
pub(super) enum Way {
    /// An executor.
    Here(String, Box<dyn Executor>),
    /// onnxruntime, on the exported file.
    Onnx(Child),
    /// The engine of the page, in WebAssembly.
    Page(Child, usize),
}

impl Way {
    /// An executor for `model`.
    pub(super) fn here(device: Device, model: &Model) -> Result<Self> {
        Ok(Self::Here(device.to_string(), device.executor(model)?))
    }

    /// The fastest device, where it is another than the engine.
    pub(super) fn fastest(model: &Model) -> Result<Self> {
        let device = Wanted::Fastest.device();
        ensure!(!device.is_cpu(), "this program was built without it, or there is no such device");
        Self::here(device, model)
    }

    /// `python` with onnxruntime; the model goes there once it has said that it has it.
    pub(super) fn onnx(python: &str) -> Result<Self> {
        Ok(Self::Onnx(Child::start(python, &["-c", include_str!("onnx.py")])?))
    }

    /// `node`, for the engine at `wasm`.
    pub(super) fn page(node: &str, wasm: &Path, model: &Model) -> Result<Self> {
        ensure!(wasm.exists(), "no {}: make page compiles it", wasm.display());
        let size = model.input.preparation.size;
        Ok(Self::Page(Child::start(node, &["-e", include_str!("page.js")])?, size))
    }

    /// Hands over the model: `file`, or what is exported of it.
    pub(super) fn load(
        &mut self,
        file: &[u8],
        model: &Model,
        source: &Source,
        wasm: &Path,
    ) -> Result<()> {
        match self {
            Self::Here(..) => Ok(()),
            Self::Onnx(child) => child.give(&[&export::bytes(model.clone(), source)?]),
            Self::Page(child, _) => {
                let engine = std::fs::read(wasm);
                child
                    .give(&[&engine.with_context(|| format!("cannot read {}", wasm.display()))?])?;
                child.give(&[file])
            }
        }
    }

    /// What it is called in the table.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Here(name, _) => name.clone(),
            Self::Onnx(child) => format!("ONNX, {}", child.name),
            Self::Page(child, _) => format!("page, {}", child.name),
        }
    }

    /// Its answers.
    ///
    /// # Errors
    /// A program that fails: its last words.
    pub(super) fn ask(&mut self, batch: &Batch<'_>) -> Result<Answers> {
        let n = batch.paths.len();
        match self {
            Self::Here(_, executor) => {
                let logits = executor.logits(&batch.x)?;
                Ok(rows(&batch.views.mean(&logits, executor.classes()), n))
            }
            Self::Onnx(child) => {
                let values = batch.planes.iter().flatten().map(|v| f32::from(*v) / 255.0);
                child.give(&[&values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()])?;
                Ok(rows(&floats(&child.take()?), n))
            }
            Self::Page(child, size) => {
                let pictures = batch.paths.iter().zip(&batch.planes);
                pictures.map(|(path, planes)| of_page(child, path, planes, *size)).collect()
            }
        }
    }
}

fn rows(logits: &[f32], n: usize) -> Answers {
    logits.chunks_exact((logits.len() / n.max(1)).max(1)).map(|row| Some(row.to_vec())).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// A JPEG goes as it is, as the page decodes it by itself and refuses the uncommon kinds; of any other picture the
/// prepared pixels, which preparing again leaves as they are, because there a browser decodes.
fn of_page(child: &mut Child, path: &Path, planes: &[u8], size: usize) -> Result<Option<Vec<f32>>> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if file.starts_with(&[0xff, 0xd8]) {
        child.give(&[&[0; 8], &file])?;
    } else {
        let side = u32::try_from(size)?.to_le_bytes();
        let pixel = |i| [planes[i], planes[size * size + i], planes[2 * size * size + i], 255];
        let pixels: Vec<u8> = (0..size * size).flat_map(pixel).collect();
        child.give(&[&side, &side, &pixels])?;
    }
    let answer = child.take()?;
    let (kind, rest) = answer.split_first().context("an empty answer")?;
    Ok((*kind == 0).then(|| floats(rest)))
}

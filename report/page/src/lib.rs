//! The classifier inside a web page: a shipped file and a picture, both from memory → logits.
//!
//! Compiled to WebAssembly by `make page`, called by `page.js`. Pictures are decoded and resized by the same
//! code as everywhere else ([`photos`]), so that the page answers what `infer predict` answers; only what
//! that code cannot decode (WebP, a camera's frames) the browser decodes.
//!
//! # How JavaScript calls it
//! All functions work on two buffers: `room(n)` makes room for `n` bytes of input and says where; every other
//! function says how many bytes of output there are, negative where they are an error message, and `output()`
//! says where. Outputs are JSON. One thread, so a lock is never waited for.

use anyhow::{Context, Result, ensure};
use artifacts::Model;
use engine::Answers;
use executor::Precision;
use graph::limits::MAX_FLOATS;
use graph::schedule::{Fusing, Schedule};
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most pixels of a picture here: a browser's memory is no server's.
const MAX_PIXELS: u64 = 64 * 1024 * 1024;

/// A model that is ready to answer.
pub struct Classifier {
    model: Model,
    answers: Answers,
    bytes: usize,
    hash: String,
}

impl Classifier {
    /// The model in `bytes`, a shipped file or a plain model.
    ///
    /// # Errors
    /// Bytes that hold no model, or one whose results of a picture are more than a browser's memory: of all
    /// results together is asked here what elsewhere is asked of one.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let (model, source) = Model::parse("the file", bytes)?;
        let size = model.input.preparation.size;
        let floats = Schedule::new(&model.graph, size, Fusing::NONE)?.floats();
        ensure!(
            floats <= MAX_FLOATS,
            "the results of one picture of {size} px are {floats} numbers, at most {MAX_FLOATS} fit in a page"
        );
        // What trains stays out of the page.
        let Model { graph, weights, .. } = model.folded()?;
        let answers = Answers::new((graph, weights), size, Precision::F32)?;
        Ok(Self { answers, bytes: source.bytes, hash: source.hash, model })
    }

    /// What the model is, as JSON: class names, side of its pictures, parameters, bytes, hash.
    pub fn about(&self) -> String {
        json!({
            "classes": self.model.classes,
            "size": self.model.input.preparation.size,
            "parameters": self.model.graph.parameter_count(),
            "bytes": self.bytes,
            "hash": self.hash,
        })
        .to_string()
    }

    /// Logits of a JPEG or PNG file: the mean of those of the model's views, as everywhere.
    ///
    /// # Errors
    /// What is no such file.
    pub fn of_file(&mut self, bytes: &[u8]) -> Result<Vec<f32>> {
        self.of_planes(&photos::prepare_bytes(bytes, &self.model.input.preparation, MAX_PIXELS)?)
    }

    /// Logits of `width` × `height` pixels, R, G, B, A bytes each; A is ignored.
    ///
    /// # Errors
    /// Too many pixels, or not as many as said.
    pub fn of_pixels(&mut self, rgba: &[u8], width: u32, height: u32) -> Result<Vec<f32>> {
        let rgb = rgba.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
        let how = &self.model.input.preparation;
        self.of_planes(&photos::prepare_pixels(rgb, (width, height), how, MAX_PIXELS)?)
    }

    fn of_planes(&mut self, planes: &[u8]) -> Result<Vec<f32>> {
        let Model { views, input, graph, .. } = &self.model;
        let mut x = vec![0.0; planes.len()];
        let mut mean = vec![0.0; graph.classes()];
        // One by one, as a browser's memory is no server's; added up in the order of `FixedViews::mean`.
        for k in 0..views.count() {
            match k {
                0 => input.normalization.apply(planes, &mut x),
                _ => views.render(k, planes, input.preparation.size, &input.normalization, &mut x),
            }
            for (mean, logit) in mean.iter_mut().zip(self.answers.logits(&x)?) {
                *mean += logit;
            }
        }
        mean.iter_mut().for_each(|v| *v /= views.count() as f32);
        Ok(mean)
    }
}

/// What the functions below share.
#[derive(Default)]
struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    classifier: Option<Classifier>,
}

static STATE: Mutex<State> =
    Mutex::new(State { input: Vec::new(), output: Vec::new(), classifier: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the output of `work` on the input; its length, negative for an error.
fn answer(work: impl FnOnce(&mut Option<Classifier>, Vec<u8>) -> Result<String>) -> i32 {
    let mut state = state();
    let input = std::mem::take(&mut state.input);
    let (output, sign) = match work(&mut state.classifier, input) {
        Ok(text) => (text, 1),
        Err(error) => (format!("{error:#}"), -1),
    };
    state.output = output.into_bytes();
    sign * i32::try_from(state.output.len()).unwrap_or(i32::MAX)
}

fn logits(values: Vec<f32>) -> String {
    json!(values).to_string()
}

/// Room for `n` bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn room(n: usize) -> *mut u8 {
    let mut state = state();
    state.input = vec![0; n];
    state.input.as_mut_ptr()
}

/// Where the output is.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    state().output.as_ptr()
}

/// Takes the input as the model from now on; output: what it is.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> i32 {
    answer(|classifier, input| {
        let new = Classifier::new(input)?;
        Ok(classifier.insert(new).about())
    })
}

/// Takes the input as a JPEG or PNG file; output: its logits.
#[unsafe(no_mangle)]
pub extern "C" fn classify_file() -> i32 {
    answer(|classifier, input| {
        let classifier = classifier.as_mut().context("no model is loaded")?;
        Ok(logits(classifier.of_file(&input)?))
    })
}

/// Takes the input as pixels, R, G, B, A bytes each; output: their logits.
#[unsafe(no_mangle)]
pub extern "C" fn classify_pixels(width: u32, height: u32) -> i32 {
    answer(|classifier, input| {
        let classifier = classifier.as_mut().context("no model is loaded")?;
        Ok(logits(classifier.of_pixels(&input, width, height)?))
    })
}

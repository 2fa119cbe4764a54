//! The rows of the report's CSV files: `report gather` writes them, `typeset` reads them. Columns stand in the
//! order of the fields; FORMAT.md says what they mean.

use serde::{Deserialize, Serialize};

/// How often seeds and pictures are drawn for a hierarchical bootstrap.
pub const RESAMPLES: usize = 10_000;

/// A row of trials.csv: the evaluation of one model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// `q1` to `q4`, `bits`, or `stages` for those of the pipeline.
    pub question: String,
    /// Which of the question's ways: `pruning`, `0.1`, `plain_grouped`, `rounded`.
    pub way: String,
    /// Its seed; 0 where nothing is random.
    pub seed: u32,
    /// Cuts so far, in a chain of question 3; bits per weight, of `bits`; else 0.
    #[serde(rename = "step")]
    pub cut: u32,
    /// Trained values in the network.
    pub parameters: usize,
    /// Bytes of the file.
    pub bytes: usize,
    /// Multiplications per picture.
    pub multiplications: usize,
    /// Pictures it answered.
    pub pictures: usize,
    /// Those it answered rightly.
    pub correct: usize,
    /// Their share.
    pub top1: f64,
    /// Lower end of the share's 95 % interval over pictures (Wilson).
    pub wilson_low: f64,
    /// Upper end.
    pub wilson_high: f64,
    /// Expected calibration error, 0 to 1.
    pub calibration_error: f64,
    /// Mean negative log-likelihood of the right class, nats.
    pub nll: f64,
    /// How often the question's own trainings of it saw the training pictures; empty where it is in no folder of them.
    pub passes: Option<usize>,
    /// How often the trainings did that it goes on from; empty where a file from elsewhere is among them.
    pub inherited: Option<usize>,
    /// Top-1 on the test pictures; empty where their labels were not given.
    pub test_top1: Option<f64>,
}

/// A row of ways.csv: all seeds of one experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// As of [`Trial`].
    pub question: String,
    /// As of [`Trial`].
    pub way: String,
    /// As of [`Trial`].
    #[serde(rename = "step")]
    pub cut: u32,
    /// How many there are.
    pub seeds: usize,
    /// Mean over the seeds.
    pub parameters: f64,
    /// Mean over the seeds.
    pub bytes: f64,
    /// Mean over the seeds.
    pub multiplications: f64,
    /// Mean over the seeds.
    pub top1: f64,
    /// Standard deviation of top-1 over the seeds.
    pub deviation: f64,
    /// Lower end of the mean's 95 % interval over seeds and pictures (hierarchical bootstrap).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Half the mean's 95 % interval over seeds alone (Student's t); empty for one seed.
    pub student_half: Option<f64>,
    /// Lower end of the mean's 95 % interval over pictures alone (Wilson), as if of one model.
    pub wilson_low: f64,
    /// Upper end.
    pub wilson_high: f64,
    /// As of [`Trial`].
    pub passes: Option<usize>,
    /// As of [`Trial`].
    pub inherited: Option<usize>,
    /// Mean top-1 on the test pictures; empty where their labels were not given.
    pub test_top1: Option<f64>,
    /// Lower end of its 95 % interval over seeds and pictures.
    pub test_low: Option<f64>,
    /// Upper end.
    pub test_high: Option<f64>,
}

/// A row of pairs.csv: two experiments on the same pictures, seed by seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// The question that both are of, else that of b.
    pub question: String,
    /// The way of a.
    pub a: String,
    /// Its cuts, as of [`Trial`].
    #[serde(rename = "a_step")]
    pub a_cut: u32,
    /// The way of b.
    pub b: String,
    /// Its cuts, as of [`Trial`].
    #[serde(rename = "b_step")]
    pub b_cut: u32,
    /// Pairs of models: one for every seed that both have.
    pub seeds: usize,
    /// Mean of top-1 of b less that of a.
    pub difference: f64,
    /// Lower end of the difference's 95 % interval over seeds and pictures (hierarchical bootstrap).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Over all seeds: pictures that a alone has right.
    pub only_a: usize,
    /// Over all seeds: pictures that b alone has right.
    pub only_b: usize,
    /// The largest p of McNemar's exact test over the seeds.
    pub p: f64,
    /// That p where all pairs of the question are tested at once (Holm).
    pub holm: f64,
    /// `a` or `b` where `holm` is below 0.05 and every seed has it better, else `none`.
    pub better: String,
    /// Mean difference on the test pictures; empty where their labels were not given.
    pub test_difference: Option<f64>,
    /// Lower end of its 95 % interval over seeds and pictures.
    pub test_low: Option<f64>,
    /// Upper end.
    pub test_high: Option<f64>,
}

/// A row of choice.csv: a training of at least two epochs, the best of which was chosen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Path of the model without its ending.
    pub model: String,
    /// How many epochs there were.
    pub epochs: usize,
    /// The one that was chosen.
    pub chosen: usize,
    /// Its validation top-1, which chose it.
    pub best: f64,
    /// That after the last epoch, which nothing chose.
    pub last: f64,
    /// The former less the latter.
    pub gain: f64,
}

/// A row of evidence.csv: what besides accuracy was measured of an experiment, means over its seeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// As of [`Trial`].
    pub question: String,
    /// As of [`Trial`].
    pub way: String,
    /// As of [`Trial`].
    #[serde(rename = "step")]
    pub cut: u32,
    /// Share of the pictures that it answers as teacher (a) does; empty without one.
    pub agreement: Option<f64>,
    /// Expected calibration error of its probabilities as they are, 0 to 1.
    pub calibration_error: f64,
    /// The temperature that fits these pictures best.
    pub temperature: f64,
    /// Multiplications for each picture that is answered rightly; empty where none is.
    pub multiplications_per_right: Option<f64>,
}

/// A row of gains.csv: a class, and what an experiment does with it beside the one that its question starts from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gain {
    /// As of [`Trial`].
    pub question: String,
    /// As of [`Trial`].
    pub way: String,
    /// As of [`Trial`].
    #[serde(rename = "step")]
    pub cut: u32,
    /// The way that it is compared with.
    pub than: String,
    /// The class.
    pub class: String,
    /// Mean top-1 of the class less that of the other.
    pub difference: f64,
}

/// A row of fields.csv: a layer of a twin of question 4 that moves a window over its map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Field {
    /// The twin.
    pub way: String,
    /// Name of the layer, or what it does.
    pub layer: String,
    /// Side of its window.
    pub kernel: usize,
    /// Steps of the window, pixels of the map before.
    pub stride: usize,
    /// Channels behind it.
    pub channels: usize,
    /// Height and width of the map behind it.
    pub map: usize,
    /// Side of the square of the picture that a value behind it sees, margins counted.
    pub field: usize,
}

/// A row of settings.csv: a setting that an artifact says it was made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Path of the artifact.
    pub file: String,
    /// What made it.
    pub stage: String,
    /// What is set.
    pub setting: String,
    /// To what.
    pub value: String,
}

/// A row of classes.csv: a class in a stage of the pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Class {
    /// `teacher`, `student`, `pruned` or `shipped`.
    pub stage: String,
    /// Its number.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Pictures of it.
    pub pictures: usize,
    /// Those answered rightly.
    pub correct: usize,
    /// Their share.
    pub top1: f64,
    /// Pictures that only the stage before had right; empty for the first.
    pub lost: Option<usize>,
    /// Pictures that only this one has right.
    pub won: Option<usize>,
    /// McNemar's exact p of these two; one in twenty is below 0.05 by chance alone.
    pub p: Option<f64>,
}

/// A row of confusion.csv: what the last stage takes for what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confused {
    /// What the pictures show.
    pub class: String,
    /// What was answered.
    pub answered: String,
    /// How many.
    pub pictures: usize,
}

/// A row of calibration.csv: a stage's pictures of one tenth of confidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bin {
    /// As of [`Class`].
    pub stage: String,
    /// Upper end of the tenth.
    pub up_to: f64,
    /// How many.
    pub pictures: usize,
    /// Share of them that was right.
    pub accuracy: f64,
    /// Mean of their largest probabilities.
    pub confidence: f64,
}

/// A row of curves.csv: an epoch of a training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Path of the model without its ending.
    pub model: String,
    /// From 1.
    pub epoch: usize,
    /// Mean training loss, nats.
    pub loss: f64,
    /// Of the validation pictures.
    pub top1: f64,
}

/// A row of waterfall.csv: where the bytes of the shipped file go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// `header`, or a tensor.
    pub part: String,
    /// Bytes.
    pub bytes: usize,
    /// Values in it.
    pub values: usize,
    /// Bits for each.
    pub bits_each: f64,
}

/// A row of sensitivity.csv: what it costs to quantize one tensor alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nats {
    /// Its name.
    pub tensor: String,
    /// Bits per weight.
    pub bits: u8,
    /// Divergence of the answers from the float network's, nats.
    pub nats: f64,
}

/// A row of lineage.csv: an artifact and one of its parents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edge {
    /// Path of the artifact.
    pub file: String,
    /// Its kind.
    pub kind: String,
    /// What made it.
    pub stage: String,
    /// What the parent was to it; empty without parents.
    pub role: String,
    /// Path of the parent, or its hash; empty without parents.
    pub from: String,
}

/// A row of cost.csv: what making a file cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spent {
    /// Path of the artifact without its ending.
    pub file: String,
    /// What made it.
    pub stage: String,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Pictures that went through the network or were prepared.
    pub pictures: usize,
    /// Those of a second.
    pub per_second: f64,
    /// Largest resident memory, bytes.
    pub peak_bytes: usize,
    /// Threads.
    pub threads: usize,
}

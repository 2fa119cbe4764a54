//! The settings of a training run.

use super::Sizes;
use crate::share::Share;
use crate::sizing::FRESH;
use anyhow::{Result, ensure};
use executor::{Precision, Rule, Update};
use serde::{Serialize, Serializer};

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// SGD with Nesterov momentum 0.9 and L2 weight decay.
    Sgd,
    /// AdamW, β = 0.9, 0.999.
    Adamw,
}

/// The settings of a training run; everything that decides its result besides the files.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Settings {
    /// Times every picture is shown.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
    /// Pictures per step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub batch: u32,
    /// Update rule.
    #[arg(long, value_enum, default_value = "adamw")]
    pub optimizer: Optimizer,
    /// Peak learning rate; reached after the warm-up, then a cosine down to 0.
    #[arg(long, default_value_t = 2e-3)]
    pub lr: f32,
    /// Epochs over which the learning rate rises from 0.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f32,
    /// Weight decay; biases and batch norm have none.
    #[arg(long, default_value_t = 1e-2)]
    pub weight_decay: f32,
    /// Largest norm of the gradient; 0 = no limit.
    #[arg(long, default_value_t = 0.0)]
    pub clip: f32,
    /// Share of the target spread over all classes.
    #[arg(long, default_value_t = 0.0)]
    pub label_smoothing: f32,
    /// Decay of the moving average of the weights, e.g. 0.999; 0 = off.
    #[arg(long, default_value_t = 0.0)]
    pub ema: f32,
    /// Loss per unit of the sum of all batch norms' |γ|: what the network can do without goes towards
    /// zero, for prune channels (network slimming; 1e-5 to 1e-3); 0 = off.
    #[arg(long, default_value_t = 0.0, value_name = "LAMBDA")]
    #[serde(skip_serializing_if = "is_off")]
    pub slim: f32,
    /// Smaller pictures in the first epochs, as SIDE:SHARE of the epochs, or several, e.g. 40:0.5 or 32:0.3,48:0.3;
    /// then the pictures as they are. An epoch takes about (SIDE / size)² of the time. Views are the same but for the
    /// pixels, accuracy is measured at full size. With --device cuda views are then made on the CPU.
    #[arg(long, value_name = "SIDE:SHARE", default_value_t, hide_default_value = true)]
    #[serde(skip_serializing_if = "Sizes::is_full")]
    pub sizes: Sizes,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What factors of products are rounded to: f32 (not at all), or bf16 (8 binary digits) in pointwise
    /// convolutions, forwards and backwards, and some others forwards, which takes less time on CPUs with
    /// AVX512-BF16 and far more on others; the products have the same bits there. Sums, weights, statistics, losses
    /// and updates stay f32. Validation rounds as training does, what uses the model later only if it is told to.
    /// --device cpu alone has it.
    #[arg(long, value_name = "PRECISION", default_value_t)]
    #[serde(skip_serializing_if = "Precision::is_f32", serialize_with = "by_name")]
    pub precision: Precision,
}

fn by_name<S: Serializer>(
    precision: &Precision,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(precision)
}

/// Headers leave out what is off.
fn is_off(v: &f32) -> bool {
    *v == 0.0
}

impl Settings {
    /// Checks ranges clap does not.
    pub(super) fn check(&self) -> Result<()> {
        let flag = |name: &str, v: f32, ok: bool, range: &str| -> Result<()> {
            ensure!(v.is_finite() && ok, "--{name} {v}: expected {range}");
            Ok(())
        };
        flag("lr", self.lr, self.lr > 0.0, "more than 0")?;
        flag("warmup", self.warmup, self.warmup >= 0.0, "0 or more epochs")?;
        flag("weight-decay", self.weight_decay, self.weight_decay >= 0.0, "0 or more")?;
        flag("clip", self.clip, self.clip >= 0.0, "0 or more")?;
        flag("slim", self.slim, self.slim >= 0.0, "0 or more")?;
        let smoothing = self.label_smoothing;
        flag("label-smoothing", smoothing, (0.0..1.0).contains(&smoothing), "0 up to below 1")?;
        flag("ema", self.ema, (0.0..1.0).contains(&self.ema), "0 up to below 1")
    }

    /// Side of the pictures in `epoch`, from 0, where they are `size` pixels wide.
    pub(super) fn side(&self, epoch: usize, size: usize) -> usize {
        self.sizes.at(epoch, self.epochs, size)
    }

    /// What step `step` out of `steps` does, `per_epoch` steps each.
    pub(super) fn update(&self, step: usize, steps: usize, per_epoch: usize) -> Update {
        let rule = match self.optimizer {
            Optimizer::Sgd => Rule::Sgd,
            Optimizer::Adamw => Rule::AdamW,
        };
        let Self { weight_decay, clip, ema, slim, .. } = *self;
        let lr = self.lr(step, steps, per_epoch);
        Update { weight_decay, clip, ema, slim, ..Update::new(rule, lr) }
    }

    /// Learning rate of `step` out of `steps`, `per_epoch` steps each.
    pub(super) fn lr(&self, step: usize, steps: usize, per_epoch: usize) -> f32 {
        let warmup = self.warmup * per_epoch as f32;
        let s = step as f32 + 1.0;
        if s < warmup {
            return self.lr * s / warmup;
        }
        let progress = ((s - warmup) / (steps as f32 - warmup).max(1.0)).min(1.0);
        self.lr * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
    }
}

/// How training goes on from weights that others learned: what is learned faster, what first.
///
/// The head is the last layer with weights, which makes the logits, the body everything before it. Batch norms go by
/// the statistics that they came with, which stay: those of a few dozen or hundred photos are noise, and move what the
/// network knows. From EfficientNet-Lite0 with photos of 128 px in 11 classes, the body at a tenth, top-1 on 500 others: of 300
/// photos, 8 epochs, .434, with those of the batch .364; of 2,000, 3 epochs, .552 and .468.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, clap::Args)]
pub struct Tuning {
    /// With --init: factor on the learning rate of everything but the last layer, 0 to 1; 1 = the same for all,
    /// 0 = the others stay as they are.
    #[arg(long, value_name = "F", default_value_t = 0.1, requires = "init", conflicts_with_all = FRESH)]
    pub body_lr: f32,
    /// With --init: in the first N epochs only the last layer learns; an epoch takes a third of the time.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "init", conflicts_with_all = FRESH)]
    pub freeze: u32,
}

impl Tuning {
    pub(super) fn check(&self) -> Result<()> {
        let Self { body_lr, .. } = *self;
        ensure!((0.0..=1.0).contains(&body_lr), "--body-lr {body_lr}: expected 0 to 1");
        Ok(())
    }

    /// `update` as it is in `epoch`, from 0, of epochs of `per_epoch` steps: a function of these alone, so that a
    /// run that goes on needs to remember nothing.
    pub(super) fn of(&self, update: Update, epoch: usize, per_epoch: usize) -> Update {
        let freeze = self.freeze as usize;
        let (body, rested) =
            if epoch < freeze { (0.0, 0) } else { (self.body_lr, freeze * per_epoch) };
        let rested = i32::try_from(rested).unwrap_or(i32::MAX);
        Update { body, rested, stored: true, ..update }
    }
}

/// How a network on grids ([`artifacts::Model::grids`]) is trained.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OnGrids {
    /// Largest size of the finished file, bytes; epochs beyond it are never the best.
    pub budget: usize,
    /// Share of the epochs, the last ones, in which the integers no longer change: they are rounded
    /// to the budget, then scales and biases adapt to them. Weights that swing between two integers
    /// (Nagel et al. 2022, "Overcoming oscillations in quantization-aware training") come to rest.
    pub settle: f32,
}

impl OnGrids {
    pub(super) fn check(&self) -> Result<()> {
        let settle = self.settle;
        ensure!((0.0..=1.0).contains(&settle), "--settle {settle}: expected 0 to 1");
        Ok(())
    }

    /// The first epoch, from 0, with settled integers.
    pub(super) fn settle_at(&self, epochs: u32) -> usize {
        let settled = Share::written_as(self.settle).at_least(epochs as usize);
        epochs as usize - settled.min(epochs as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lr: f32, warmup: f32) -> Settings {
        Settings {
            epochs: 5,
            batch: 8,
            optimizer: Optimizer::Sgd,
            lr,
            warmup,
            weight_decay: 0.0,
            clip: 0.0,
            label_smoothing: 0.0,
            ema: 0.0,
            slim: 0.0,
            sizes: Sizes::FULL,
            seed: 0,
            precision: Precision::F32,
        }
    }

    /// As FORMAT.md says: headers leave out what is usual.
    #[test]
    fn headers_say_what_factors_are_rounded_to() {
        let usual = settings(1.0, 0.0);
        let rounded = Settings { precision: Precision::Bf16, ..usual.clone() };
        let [usual, rounded] = [usual, rounded].map(|s| {
            let made = artifacts::Provenance::new("train", &s).unwrap();
            made.settings.get("precision").map(ToString::to_string)
        });
        assert_eq!((usual, rounded.as_deref()), (None, Some("\"bf16\"")));
    }

    /// By hand: five epochs of four steps, two of them warm-up. The rate rises by an eighth of the peak a step,
    /// is there in the eighth, then falls as half a cosine over the twelve that are left: half of it after six,
    /// (1 + cos 45°) / 2 of it after three, nothing at the end.
    #[test]
    fn the_learning_rate_rises_and_falls() {
        let settings = settings(2.0, 2.0);
        let lr = |step| settings.lr(step, 20, 4);
        for (step, expected) in
            [(0, 0.25), (3, 1.0), (6, 1.75), (7, 2.0), (10, 1.707_106_8), (13, 1.0), (19, 0.0)]
        {
            assert!((lr(step) - expected).abs() < 1e-6, "step {step}: {}", lr(step));
        }
        assert_eq!(settings.update(10, 20, 4).lr, lr(10));
    }

    /// Without a warm-up it begins a step below the peak; a warm-up longer than the run never gets there.
    #[test]
    fn a_run_may_have_no_warm_up_and_be_shorter_than_one() {
        let none = settings(1.0, 0.0);
        assert!((none.lr(0, 4, 4) - 0.5 * (1.0 + (std::f32::consts::PI / 4.0).cos())).abs() < 1e-6);
        assert!(none.lr(3, 4, 4).abs() < 1e-6);
        let long = settings(1.0, 10.0);
        assert!((long.lr(3, 4, 4) - 0.1).abs() < 1e-6);
    }

    /// By hand: two epochs of four steps of the head alone, whose steps the body's bias correction does not count.
    #[test]
    fn the_body_rests_at_first() {
        let tuning = Tuning { body_lr: 0.25, freeze: 2 };
        let of = |epoch| tuning.of(Update::new(Rule::AdamW, 8.0), epoch, 4);
        assert!(of(1).rests() && !of(2).rests());
        for (epoch, step, rates, counts) in [(1, 8, [8.0, 0.0], [8, 8]), (2, 9, [8.0, 2.0], [9, 1])]
        {
            let update = of(epoch);
            assert!(update.keeps_statistics());
            assert_eq!([true, false].map(|head| update.lr_of(head)), rates);
            assert_eq!([true, false].map(|head| update.count(step, head)), counts);
        }
        for body_lr in [-0.1, 1.5, f32::NAN] {
            let error = Tuning { body_lr, freeze: 0 }.check().unwrap_err().to_string();
            assert!(error.contains("--body-lr") && error.contains("expected 0 to 1"), "{error}");
        }
    }

    /// Five epochs: a fifth of them is one, half is three (at least), all is all.
    #[test]
    fn integers_settle_in_the_last_epochs() {
        let at = |settle| OnGrids { budget: 1, settle }.settle_at(5);
        assert_eq!([0.0, 0.2, 0.5, 1.0].map(at), [5, 4, 2, 0]);
    }
}

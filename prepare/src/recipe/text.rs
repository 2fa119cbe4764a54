//! The recipe as a page of make variables.

use super::level::{Counts, Epochs, Level, PLANNED_ON, Takes, told};
use artifacts::{Framing, Preparation};

/// What views are drawn by: photos have no left and right, and their light and frame are chance.
pub(super) const AUGMENT: &str = "flip,scale=0.4,rotate=15,colour=0.2,cutmix=1";

/// What a teacher that goes on from other weights sees: it has few epochs, and little to unlearn.
const MILD: &str = "flip,shift=0.1";

/// What a recipe is written from.
pub(super) struct Recipe<'a> {
    /// The first line: what it is made from.
    pub(super) made: &'a str,
    pub(super) counts: &'a Counts,
    pub(super) classes: usize,
    /// Whether every picture to predict has a label.
    pub(super) is_tested: bool,
    pub(super) level: Level,
    /// How pictures become squares, of whatever size.
    pub(super) preparation: Preparation,
    pub(super) budget: usize,
    pub(super) epochs: Epochs,
    pub(super) takes: &'a Takes,
    pub(super) threads: usize,
}

/// Decay of the moving average of a training of so many steps: a memory of at most a tenth of it.
fn ema(steps: usize) -> f64 {
    [0.999, 0.99].into_iter().find(|d| steps as f64 * (1.0 - d) >= 10.0).unwrap_or(0.9)
}

impl Recipe<'_> {
    /// The file.
    pub(super) fn text(&self) -> String {
        let Counts { training, validation, testing, side, .. } = *self.counts;
        let views = self.epochs.views;
        let Self { made, classes, level, threads, .. } = self;
        let framed = framed(self.preparation);
        let size = level.size;
        let tested = if self.is_tested { "yes" } else { "" };
        let (took, all) = (self.expected(), told(self.takes.total()));
        let (teacher, smaller, report) = (self.teacher(), self.smaller(), self.report());
        let on_grids = self.on_grids();
        format!(
            "\
{made}
# for a machine of {threads} threads and these pictures: {training} to train on, {validation} that choose,
# {testing} to predict; {classes} classes; half of them have a shorter side of {side} px at most.
# To change it, copy it into recipes/ under a name of its own, and give that as RECIPE=.
#
# Expected, seconds of each stage:
{took}
TAKES := about {all} on {threads} threads

# The catalogue names the classes.
CLASSES :=
PREPARE := --size {size}{framed}
TEACHER := {teacher} --seed 1
LOGITS := --augment {AUGMENT} --views {views} --seed 2
{smaller}
PLAN := --pictures {PLANNED_ON}
QUANT :={on_grids}
TESTED := {tested}

{report}"
        )
    }

    /// What `make report` needs besides.
    fn report(&self) -> String {
        if self.counts.cut_to.is_some() {
            return String::from(
                "# There is no report: it is about a student, and here is none.\n",
            );
        }
        let few = self.learn((self.epochs.student / 4).max(2));
        format!(
            "\
# What make report trains besides, which is no part of the time above.
LEARN := {few}
LABELS := --augment {AUGMENT}
FROM := {FROM}
MEND := --epochs 2 --batch 32 --lr 1e-3 --warmup 0 --weight-decay 2e-2 --ema 0.99 --seed 1
Q1_PARAMS := 350000
Q1_ARCH := studentnet
Q2_STUDENT := --arch studentnet --width 1.0 $(LEARN)
Q3_CHAINS := 0.05:10 0.1:5
"
        )
    }

    /// A comment line for each stage.
    fn expected(&self) -> String {
        let all = self.takes.0.iter().copied().chain([("all", self.takes.total())]);
        all.fold(String::new(), |text, (stage, seconds)| {
            format!("{text}#   {stage:<10} {seconds:>8.0}\n")
        })
    }

    fn teacher(&self) -> String {
        let epochs = self.epochs.teacher;
        let (warm_up, average) = (warm_up(epochs), self.average(epochs));
        if self.counts.has_init {
            // What came out best with 40 photos of 11 classes, and with 300, though within chance (RESULTS.md).
            let freeze = if self.has_few() { epochs / 2 } else { 0 };
            let batch = self.batch();
            return format!(
                "--epochs {epochs} --batch {batch} --freeze {freeze} --body-lr 0.1 --lr 2e-3 --ema {average} \
                 --augment {MILD}"
            );
        }
        format!(
            "--arch resnet18 --width 0.5 --stem-stride {} --epochs {epochs} --batch 32 --optimizer sgd --lr 0.05 \
             --warmup {warm_up} --weight-decay 1e-3 --ema {average} --augment {AUGMENT}",
            self.level.stem_stride
        )
    }

    /// From the teacher to the network that is planned: a student that begins afresh, or the teacher itself, cut and tuned
    /// by what it answered before. What was learnt of other pictures is kept by its weights (RESULTS.md, "Weights to
    /// start from").
    fn smaller(&self) -> String {
        let Epochs { student, quantized, .. } = self.epochs;
        let Some(parameters) = self.counts.cut_to else {
            let (arch, budget, learn) = (self.level.student, self.budget, self.learn(student));
            let average = self.average(quantized);
            return format!(
                "\
STUDENT := --arch {arch} --bytes {budget} {learn} {FROM} --seed 3
PRUNE_STEPS := 0
PRUNE := channels --share 0.05
TUNE := --epochs {quantized} --batch 32 --lr 1e-3 --ema {average} {FROM} --seed 4"
            );
        };
        format!(
            "\
STUDENT :=
PRUNE_STEPS := 1
PRUNE := channels --by taylor --scope global --per parameter --params {parameters}
TUNE := --epochs {student} --batch {} --lr 1e-3 --warmup 1 --weight-decay 1e-2 --ema {} {FROM} --seed 4",
            self.batch(),
            self.average(student)
        )
    }

    /// On grids; nothing for a teacher that was cut, whose planned file is as good (RESULTS.md, "Weights to start from").
    fn on_grids(&self) -> String {
        match self.epochs.quantized {
            0 => String::new(),
            epochs => {
                let average = self.average(epochs);
                format!(" --epochs {epochs} --batch 32 --lr 1e-3 --ema {average} {FROM} --seed 5")
            }
        }
    }

    fn has_few(&self) -> bool {
        self.counts.training < 10 * self.classes
    }

    /// Of a network that is tuned: with few photos large batches are few steps.
    fn batch(&self) -> u32 {
        if self.has_few() { 8 } else { 32 }
    }

    fn learn(&self, epochs: u32) -> String {
        let (warm_up, average) = (warm_up(epochs), self.average(epochs));
        format!(
            "--epochs {epochs} --batch 32 --lr 3e-3 --warmup {warm_up} --weight-decay 2e-2 --ema {average}"
        )
    }

    fn average(&self, epochs: u32) -> f64 {
        ema(self.counts.training.div_ceil(32) * epochs as usize)
    }
}

/// Weight of the teacher, and temperature, of every student.
const FROM: &str = "--alpha 0.7 --temperature 4";

/// The flags of `prepare images` beside its size.
fn framed(how: Preparation) -> String {
    let fit = if how.framing == Framing::Crop {
        String::new()
    } else {
        format!(" --fit {}", how.framing)
    };
    fit + if how.exif { " --exif" } else { "" }
}

fn warm_up(epochs: u32) -> u32 {
    (epochs / 20).clamp(1, 3)
}

#[cfg(test)]
mod tests {
    use super::super::level::LEVELS;
    use super::*;

    /// A million parameters in 300,000 bytes, as recipe food11-like-b has them.
    #[test]
    fn a_teacher_with_weights_from_elsewhere_is_itself_made_smaller() {
        let text = |cut_to: Option<usize>| {
            let quantized = if cut_to.is_some() { 0 } else { 10 };
            let counts = Counts {
                training: 298,
                validation: 490,
                testing: 0,
                side: 64,
                has_init: true,
                cut_to,
            };
            Recipe {
                made: "#",
                counts: &counts,
                classes: 11,
                is_tested: false,
                level: LEVELS[4],
                preparation: Preparation { size: 128, framing: Framing::Crop, exif: true },
                budget: 300_000,
                epochs: Epochs { teacher: 20, views: 40, student: 40, quantized },
                takes: &Takes(Vec::new()),
                threads: 2,
            }
            .text()
        };
        let has = |text: &str, line: &str| text.lines().any(|l| l.starts_with(line));
        let (cut, fresh) = (text(Some(crate::recipe::level::cut_for(300_000))), text(None));
        let line = "PRUNE := channels --by taylor --scope global --per parameter --params 1000000";
        assert!(
            cut.lines().any(|l| l == "STUDENT :=")
                && has(&cut, "PRUNE_STEPS := 1")
                && has(&cut, line)
        );
        assert!(has(&cut, "TUNE := --epochs 40 ") && cut.lines().any(|l| l == "QUANT :="), "{cut}");
        assert!(has(&fresh, "STUDENT := --arch studentnet --bytes 300000 --epochs 40 "), "{fresh}");
        assert!(has(&fresh, "PRUNE_STEPS := 0") && has(&fresh, "QUANT := --epochs 10 "), "{fresh}");
    }

    /// By hand: a tenth of 10,000 steps is what 0.999 remembers, a tenth of 1,000 what 0.99 does.
    #[test]
    fn averages_remember_a_tenth_of_a_training() {
        assert_eq!([10_000, 9_999, 1_000, 999].map(ema), [0.999, 0.99, 0.99, 0.9]);
    }
}

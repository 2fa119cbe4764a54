//! Ways to work, and how long each takes: a pure function of what was counted and measured.

/// Sizes and networks that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Side of the prepared pictures, pixels.
    pub(super) size: u16,
    /// By how much the teacher's stem makes them smaller: its first maps are 16 to 56 pixels large.
    pub(super) stem_stride: u8,
    /// The student's family: of 48 and 64 px one that makes maps smaller late, in four steps with filters between
    /// them; of larger pictures it would take longer than its teacher.
    pub(super) student: &'static str,
}

/// By their size, which mostly is by the time that they take.
pub(super) const LEVELS: [Level; 8] = [
    Level { size: 32, stem_stride: 2, student: "studentnet" },
    Level { size: 48, stem_stride: 2, student: "plain_separable" },
    Level { size: 64, stem_stride: 2, student: "plain_separable" },
    Level { size: 96, stem_stride: 4, student: "studentnet" },
    Level { size: 128, stem_stride: 4, student: "studentnet" },
    Level { size: 160, stem_stride: 4, student: "studentnet" },
    Level { size: 192, stem_stride: 4, student: "studentnet" },
    Level { size: 224, stem_stride: 4, student: "studentnet" },
];

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Pictures to train on.
    pub(super) training: usize,
    /// Pictures that decide which epoch was best.
    pub(super) validation: usize,
    /// Pictures to predict.
    pub(super) testing: usize,
    /// Median of the shorter sides, pixels.
    pub(super) side: u32,
    /// Whether the teacher goes on from weights that were trained elsewhere.
    pub(super) has_init: bool,
    /// Parameters that such a teacher is cut to, instead of teaching a student that begins afresh.
    pub(super) cut_to: Option<usize>,
}

impl Counts {
    /// The levels that make sense: pictures enlarged by more than a quarter show nothing new. A teacher that was
    /// trained on larger ones gets them up to twice as large, and not below 96 px where that can be: EfficientNet-Lite0
    /// was right .37 of the time on 32 px, .56 on 64 px made 128 (RESULTS.md, of different pictures).
    pub(super) fn levels(&self) -> &'static [Level] {
        let quarters = if self.has_init { 8 } else { 5 };
        let fits = |level: &&Level| u32::from(level.size) * 4 <= self.side * quarters;
        let count = LEVELS.iter().take_while(fits).count().max(1);
        let least = LEVELS.iter().take_while(|level| level.size < 96).count();
        &LEVELS[if self.has_init { least.min(count - 1) } else { 0 }..count]
    }
}

/// What was measured of a level. Its student is what is planned and ships, a teacher that was cut among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    /// Seconds to decode and resize a picture.
    pub(super) decode: f64,
    /// Seconds to train the teacher on a picture, once.
    pub(super) teacher_step: f64,
    /// Seconds of the teacher's answer to a view.
    pub(super) teacher_answer: f64,
    /// Seconds to train the student on a picture, once.
    pub(super) student_step: f64,
    /// The same with its weights on grids.
    pub(super) grids_step: f64,
    /// Seconds of the student's answer.
    pub(super) student_answer: f64,
    /// Seconds that an epoch takes besides, of the teacher.
    pub(super) teacher_epoch: f64,
    /// Seconds that an epoch takes besides, of the student.
    pub(super) student_epoch: f64,
    /// Parameters of the student.
    pub(super) weights: usize,
    /// Weights of the student, tensors: each is measured at every width when it is planned.
    pub(super) tensors: usize,
}

/// How long `quantize plan` looks into the network, in answers of it to each of so many pictures and every tensor:
/// 11 for a StudentNet of 450,000 weights at 36 px, 7 for a ResNet-18 and 6.5 for an EfficientNet-Lite0 of 1.4 million
/// each, at 64 and 128 px (processor time of `--pictures 300` at commit 971eb60, less what weights take).
const MEASURED: usize = 9;
pub(super) const PLANNED_ON: usize = 300;

/// Seconds that `quantize plan` rounds and codes a weight, at all widths and as often as it searches, by its cost.csv: 4 to
/// 6 s a million on an AMD EPYC. An epoch on grids rounds and codes it once more.
const PLANNING: f64 = 5e-6;
const CODING: f64 = 1e-7;

/// What a teacher is cut to for a file of so many bytes, parameters: a million for 300,000, at 2.4 bits each. Of 1.4 and of
/// 0.7 million less was left (RESULTS.md, "Weights to start from").
pub(super) fn cut_for(budget: usize) -> usize {
    budget.saturating_mul(10) / 3
}

/// Pictures that `prune channels --by taylor` looks at, a step of training each.
const RANKED_ON: usize = 2048;

/// Most views that logits are kept of, as in recipe food11-like.
const VIEWS: u32 = 40;

/// Most epochs of a teacher that goes on from other weights.
const TUNED: f64 = 40.0;

/// How often everything is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epochs {
    pub(super) teacher: u32,
    pub(super) views: u32,
    /// Of the student, or of the teacher once it is cut.
    pub(super) student: u32,
    /// Of the student on its grids; none of a teacher that was cut, to which it adds nothing.
    pub(super) quantized: u32,
}

impl Epochs {
    /// `factor` times what the training pictures ask for at least: 30 epochs of the teacher where there are 5,000
    /// and more, up to 150 where there are few, a third of it and at most 40 if it goes on from other weights; half as many again
    /// of the student, a third on grids; half of a teacher that was cut.
    pub(super) fn of(counts: &Counts, factor: f64) -> Self {
        let n = counts.training as f64;
        let epochs = (30.0 * (5000.0 / n).sqrt()).clamp(30.0, 150.0) * factor;
        let whole = |epochs: f64| epochs.round().max(2.0) as u32;
        let student = whole(if counts.cut_to.is_some() { 0.5 * epochs } else { 1.5 * epochs });
        Self {
            teacher: whole(if counts.has_init { (epochs / 3.0).min(TUNED) } else { epochs }),
            views: student.min(VIEWS),
            student,
            quantized: if counts.cut_to.is_some() { 0 } else { whole(epochs / 3.0) },
        }
    }
}

/// Seconds of each stage.
#[derive(Clone, Debug)]
pub(super) struct Takes(pub(super) Vec<(&'static str, f64)>);

impl Takes {
    pub(super) fn of(counts: &Counts, speed: &Speed, epochs: Epochs) -> Self {
        let Counts { training, validation, testing, .. } = *counts;
        let [n, v, t] = [training, validation, testing].map(|n| n as f64);
        let run = |epochs: u32, step: f64, answer: f64, besides: f64| {
            f64::from(epochs) * (n * step + v * answer + besides)
        };
        let Speed { student_answer, teacher_answer, teacher_epoch, student_epoch, .. } = *speed;
        let (planned_on, weights) = (PLANNED_ON.min(training) as f64, speed.weights as f64);
        let measured = (speed.tensors * MEASURED) as f64 * planned_on * student_answer;
        let on_grids = student_epoch + CODING * weights;
        let cut = counts.cut_to.map(|_| ("cut", n.min(RANKED_ON as f64) * speed.teacher_step));
        let student = if cut.is_some() { "tuned" } else { "student" };
        let before = [
            ("pictures", (n + v + 2.0 * t) * speed.decode),
            ("teacher", run(epochs.teacher, speed.teacher_step, teacher_answer, teacher_epoch)),
            ("logits", f64::from(epochs.views) * n * teacher_answer),
        ];
        let after = [
            (student, run(epochs.student, speed.student_step, student_answer, student_epoch)),
            ("plan", measured + PLANNING * weights),
            ("quantized", run(epochs.quantized, speed.grids_step, student_answer, on_grids)),
            ("answers", v * teacher_answer + (3.0 * v + 2.0 * t) * student_answer),
        ];
        // What takes no time is not made.
        let all = before.into_iter().chain(cut).chain(after);
        Self(all.filter(|(_, seconds)| *seconds > 0.0).collect())
    }

    pub(super) fn total(&self) -> f64 {
        self.0.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// Most that a recipe repeats what is asked for at least, whatever the hours.
const MOST: f64 = 8.0;

/// As many epochs as `seconds` allow, but not fewer than a fifth of what is asked for.
pub(super) fn epochs(counts: &Counts, speed: &Speed, seconds: f64) -> Epochs {
    let fits = |factor| Takes::of(counts, speed, Epochs::of(counts, factor)).total() <= seconds;
    let (mut low, mut high) = (0.2, MOST);
    if fits(high) {
        return Epochs::of(counts, high);
    }
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    Epochs::of(counts, low)
}

/// Whether a level can be used: what is asked for at least takes no longer than `seconds`.
pub(super) fn fits(counts: &Counts, speed: &Speed, seconds: f64) -> bool {
    Takes::of(counts, speed, Epochs::of(counts, 1.0)).total() <= seconds
}

/// For people: seconds below two minutes, minutes below two hours, then hours.
pub(super) fn told(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts {
        training: 1000,
        validation: 200,
        testing: 100,
        side: 100,
        has_init: false,
        cut_to: None,
    };
    const SPEED: Speed = Speed {
        decode: 0.001,
        teacher_step: 0.01,
        teacher_answer: 0.002,
        student_step: 0.004,
        grids_step: 0.006,
        student_answer: 0.001,
        teacher_epoch: 0.1,
        student_epoch: 0.05,
        weights: 1_000_000,
        tensors: 2,
    };

    /// By hand: √5 · 30 = 67.08 epochs of the teacher; 100.6 of the student, 22.4 on grids.
    #[test]
    fn few_pictures_are_shown_more_often() {
        let of = |training| Epochs::of(&Counts { training, ..COUNTS }, 1.0);
        assert_eq!(of(1000), Epochs { teacher: 67, views: 40, student: 101, quantized: 22 });
        assert_eq!(of(9866), Epochs { teacher: 30, views: 40, student: 45, quantized: 10 });
        assert_eq!(of(28), Epochs { teacher: 150, views: 40, student: 225, quantized: 50 });
        assert_eq!(Epochs::of(&COUNTS, 0.01).quantized, 2);
        let on = Counts { has_init: true, ..COUNTS };
        assert_eq!(Epochs::of(&on, 1.0), Epochs { teacher: 22, ..of(1000) });
        let cut = Epochs::of(&Counts { cut_to: Some(1), ..on }, 1.0);
        assert_eq!(cut, Epochs { teacher: 22, views: 34, student: 34, quantized: 0 });
    }

    /// By hand, 10 epochs of everything but 20 of the student: 1.4 s of pictures; 10 · (10 + 0.4 + 0.1) of the teacher;
    /// 10 · 2 of its answers; 20 · (4 + 0.2 + 0.05); 18 measurements of 0.3 s and 5 s; 10 · (6 + 0.2 + 0.05 + 0.1);
    /// 0.4 + 0.6 + 0.2.
    #[test]
    fn stages_take_what_pictures_and_epochs_make() {
        let epochs = Epochs { teacher: 10, views: 10, student: 20, quantized: 10 };
        let takes = Takes::of(&COUNTS, &SPEED, epochs);
        let expected = [1.4, 105.0, 20.0, 85.0, 10.4, 63.5, 1.2];
        assert_eq!(takes.0.len(), expected.len());
        for ((stage, seconds), expected) in takes.0.iter().zip(expected) {
            assert!((seconds - expected).abs() < 1e-9, "{stage}: {seconds}");
        }
        assert!((takes.total() - 286.5).abs() < 1e-9);
    }

    /// By hand: 1,000 steps of the teacher for the cut, and 10 · (4 + 0.2 + 0.05) of tuning; nothing on grids.
    #[test]
    fn a_teacher_that_is_cut_has_stages_of_its_own() {
        let epochs = Epochs { teacher: 10, views: 10, student: 10, quantized: 0 };
        let takes = Takes::of(&Counts { cut_to: Some(1), ..COUNTS }, &SPEED, epochs);
        let names: Vec<&str> = takes.0.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["pictures", "teacher", "logits", "cut", "tuned", "plan", "answers"]);
        assert!(
            (takes.0[3].1 - 10.0).abs() < 1e-9 && (takes.0[4].1 - 42.5).abs() < 1e-9,
            "{takes:?}"
        );
    }

    #[test]
    fn time_is_used_and_kept_to() {
        for seconds in [300.0, 1000.0, 3600.0] {
            let takes = Takes::of(&COUNTS, &SPEED, epochs(&COUNTS, &SPEED, seconds)).total();
            assert!((0.97 * seconds..=1.03 * seconds).contains(&takes), "{takes} of {seconds}");
        }
        assert!(!fits(&COUNTS, &SPEED, 1000.0) && fits(&COUNTS, &SPEED, 1400.0));
        let most = epochs(&COUNTS, &SPEED, 1e9);
        assert_eq!(most, Epochs::of(&COUNTS, 8.0), "there is a most");
        let least = epochs(&COUNTS, &SPEED, 1.0);
        assert_eq!(least, Epochs::of(&COUNTS, 0.2), "and a least");
    }

    /// 100 px may be enlarged to 125, 20 px not even to 32: there the smallest is all there is.
    #[test]
    fn pictures_are_hardly_enlarged() {
        let largest = |side| Counts { side, ..COUNTS }.levels().last().map(|l| l.size);
        let found = [20, 26, 64, 100, 128, 384].map(largest);
        assert_eq!(found, [32, 32, 64, 96, 160, 224].map(Some));
        let with = |side| {
            let counts = Counts { side, has_init: true, ..COUNTS };
            counts.levels().iter().map(|level| level.size).collect::<Vec<_>>()
        };
        assert_eq!([20, 64, 90].map(with), [vec![32], vec![96, 128], vec![96, 128, 160]]);
    }

    #[test]
    fn times_are_told_in_one_unit() {
        assert_eq!(
            [1.4, 119.0, 120.0, 7199.0, 7200.0].map(told),
            ["1 s", "119 s", "2 min", "120 min", "2.0 h"]
        );
    }
}

//! The seam where compute happens: what an executor is given and what it does. Nobody above knows which runs.
//!
//! | module | what it is | who implements or uses it |
//! |---|---|---|
//! | [`Executor`] | a network with its parameters on a device | `engine`, `reference`, `cuda` |
//! | [`precision`] | what products are made of | `engine`; flags and headers |
//! | [`state`] | everything that training changes | all three; kept on disk by `common` |
//! | [`update`] | the settings of a step: rule, learning rate, decay, averages | all three |
//! | [`parametrisation`] | what is trained ↔ what is computed with | all three; the training loop |
//! | [`rounding`] | rounding to a grid, with a gradient | `parametrisation`, `reference`; the definition for `cuda` |

pub mod parametrisation;
pub mod precision;
pub mod rounding;
pub mod state;
pub mod update;

use anyhow::{Result, bail};
pub use parametrisation::Parametrisation;
pub use precision::Precision;
pub use state::{State, Variables};
pub use update::{Part, Rule, Update};
use views::{Normalization, Pictures, View};

/// Share of a batch's statistics in the stored ones after a step: PyTorch's.
pub const MOMENTUM: f32 = 0.1;

/// A batch to train on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[b, size, size, 3]`, normalized.
    pub pictures: Vec<f32>,
    /// Target distributions from the labels, `[b, classes]`.
    pub labels: Vec<f32>,
    /// The teacher's logits, `[b, classes]`; empty without a teacher.
    pub teacher: Vec<f32>,
}

impl Batch {
    /// Checks that there is a target for each of `logits` logits.
    ///
    /// # Errors
    /// Labels, or a teacher's logits, that are fewer or more.
    pub fn check(&self, logits: usize) -> Result<()> {
        let (labels, teacher) = (self.labels.len(), self.teacher.len());
        if labels != logits || !(teacher == 0 || teacher == logits) {
            bail!("{labels} labels and {teacher} teacher's logits for {logits} logits");
        }
        Ok(())
    }
}

/// What a network is trained towards, besides the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Weight of the teacher, α in 0..1.
    pub alpha: f32,
    /// Temperature T that softens teacher and student.
    pub temperature: f32,
}

impl Loss {
    /// Labels alone.
    pub const LABELS: Self = Self { alpha: 0.0, temperature: 1.0 };
}

/// Pictures that an executor keeps, by the order in which it was given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(pub usize);

/// A network with its parameters on a device.
pub trait Executor: Send {
    /// How what is trained stands for the network's parameters.
    fn parametrisation(&self) -> &Parametrisation;

    /// Number of logits per picture.
    fn classes(&self) -> usize;

    /// Trains on a batch: forward, loss, backward, update, moving average. Nothing leaves the device, and
    /// it need not be done when this returns.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()>;

    /// Keeps pictures on the device, besides those it keeps already, so that views of them can be trained on and asked
    /// about; None where this device does not do that or has no room for them. The CPU is fed rendered pictures
    /// instead.
    ///
    /// # Errors
    /// A device that fails.
    fn keep(
        &mut self,
        pictures: &dyn Pictures,
        normalization: &Normalization,
    ) -> Result<Option<Kept>> {
        let _ = (pictures, normalization);
        Ok(None)
    }

    /// [`Executor::step`] on these views of pictures that are kept; those of `batch` are left out.
    ///
    /// # Errors
    /// As for `step`; a device that keeps none.
    fn step_on(
        &mut self,
        kept: Kept,
        views: &[(usize, View)],
        batch: Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        let _ = (kept, batch, target, update);
        bail!("{} views for a device that keeps no pictures", views.len())
    }

    /// [`Executor::logits`] of these views of pictures that are kept.
    ///
    /// # Errors
    /// As for `logits`; a device that keeps none.
    fn logits_on(&mut self, kept: Kept, views: &[(usize, View)]) -> Result<Vec<f32>> {
        let _ = kept;
        bail!("{} views for a device that keeps no pictures", views.len())
    }

    /// The sum that was set last and the losses of all steps since, each before its update, added one by
    /// one (a device may count gradients that were asked for besides). Waits for the device.
    ///
    /// # Errors
    /// A device that fails.
    fn losses(&self) -> Result<f64>;

    /// Sets that sum, 0 at first.
    ///
    /// # Errors
    /// A device that fails.
    fn set_losses(&mut self, sum: f64) -> Result<()>;

    /// A batch's loss and its gradient with respect to the variables, zero for statistics, without an update.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<(f64, Vec<f32>)>;

    /// Moves the statistics of batch norms by `share` towards those of `pictures`, `[b, size, size, 3]`.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn move_statistics(&mut self, pictures: Vec<f32>, share: f32) -> Result<()>;

    /// Forgets the statistics of batch norms: they become the means of those of `batches` of pictures, each
    /// weighing the same, which a network needs whose channels have been cut.
    ///
    /// # Errors
    /// As for [`Executor::move_statistics`].
    fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        for (k, pictures) in batches.enumerate() {
            self.move_statistics(pictures, 1.0 / (k as f32 + 1.0))?;
        }
        Ok(())
    }

    /// Logits `[b, classes]` for pictures `[b, size, size, 3]`, by the variables that count, as the network
    /// would be stored: batch norm folded.
    ///
    /// # Errors
    /// Pictures of another size; a device that fails.
    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>>;

    /// The variables that count: averaged, where they are.
    ///
    /// # Errors
    /// A device that fails.
    fn counting(&self) -> Result<Vec<f32>>;

    /// Everything that training has changed.
    ///
    /// # Errors
    /// A device that fails.
    fn download(&self) -> Result<State>;

    /// Go on from `state`.
    ///
    /// # Errors
    /// The state of another network; a device that fails.
    fn upload(&mut self, state: State) -> Result<()>;
}

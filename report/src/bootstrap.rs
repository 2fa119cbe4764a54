//! What an accuracy may be off by, over seeds and over pictures at once.
//!
//! A mean over seeds rests on two draws: some trainings of all that there could be, and some pictures. The bootstrap
//! repeats both (Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8): in each resample as
//! many seeds and as many pictures are drawn as there are, with repetition. All seeds answer the same pictures, so a
//! resample's pictures are one draw for all models: a difference of two is one of the same pictures.
//!
//! Of two or three seeds a resample knows little: their part in the variance comes out (S − 1) / S of what it is for S
//! seeds, which makes intervals too narrow where seeds differ more than pictures allow.

use graph::rng::Rng;
use rows::RESAMPLES;

/// Draws that lie beyond an end of a 95 % interval: 250 of the 10,000.
const BEYOND: usize = RESAMPLES / 40;

/// The seed of the draws.
const SEED: u64 = 1;

/// Models that answered the same pictures, in every resample of these.
pub(crate) struct Resampled {
    pictures: usize,
    /// `right[model][resample]`: pictures of the resample that the model has right.
    right: Vec<Vec<u32>>,
}

impl Resampled {
    /// Of models with these `hits`, each on the same pictures.
    pub(crate) fn of(hits: &[Vec<bool>]) -> Self {
        let pictures = hits.first().map_or(0, Vec::len);
        // Picture by picture, so that adding one up is a pass over neighbours.
        let columns: Vec<u32> =
            (0..pictures).flat_map(|i| hits.iter().map(move |model| u32::from(model[i]))).collect();
        let mut right = vec![vec![0; RESAMPLES]; hits.len()];
        let mut sums = vec![0u32; hits.len()];
        for resample in 0..RESAMPLES {
            let mut rng = Rng::new(SEED, "bootstrap pictures", resample as u64);
            sums.fill(0);
            for _ in 0..pictures {
                let at = rng.below(pictures) * hits.len();
                let drawn = &columns[at..at + hits.len()];
                sums.iter_mut().zip(drawn).for_each(|(sum, hit)| *sum += hit);
            }
            right.iter_mut().zip(&sums).for_each(|(model, sum)| model[resample] = *sum);
        }
        Self { pictures, right }
    }

    /// The 95 % percentile interval of the mean accuracy of `models`, one for each seed.
    pub(crate) fn mean(&self, models: &[usize]) -> (f64, f64) {
        self.interval(models.len(), |seed, resample| f64::from(self.right[models[seed]][resample]))
    }

    /// The same of the mean difference of `pairs`, the second's accuracy less the first's.
    pub(crate) fn difference(&self, pairs: &[(usize, usize)]) -> (f64, f64) {
        self.interval(pairs.len(), |seed, resample| {
            let (a, b) = pairs[seed];
            f64::from(self.right[b][resample]) - f64::from(self.right[a][resample])
        })
    }

    fn interval(&self, seeds: usize, right: impl Fn(usize, usize) -> f64) -> (f64, f64) {
        let mean = |resample: usize| {
            let mut rng = Rng::new(SEED, "bootstrap seeds", resample as u64);
            let drawn = (0..seeds).map(|_| right(rng.below(seeds), resample));
            drawn.sum::<f64>() / (seeds * self.pictures) as f64
        };
        let mut means: Vec<f64> = (0..RESAMPLES).map(mean).collect();
        means.sort_by(f64::total_cmp);
        (means[BEYOND], means[RESAMPLES - 1 - BEYOND])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of 10,000 draws are known to some hundredths of a standard deviation, and steps are 1 / pictures.
    fn near(found: (f64, f64), mean: f64, half: f64, share: f64) {
        let off = ((found.0 - (mean - half)).abs()).max((found.1 - (mean + half)).abs());
        assert!(off < share * half + 0.5 / 1000.0, "{found:?} not {mean} ± {half}");
    }

    /// One seed: the binomial's normal interval, 1.959964 · √(0.8 · 0.2 / 1000).
    #[test]
    fn one_seed_is_the_binomial() {
        let hits: Vec<bool> = (0..1000).map(|i| i % 5 != 0).collect();
        near(Resampled::of(&[hits]).mean(&[0]), 0.8, 0.024_791_8, 0.03);
    }

    /// Closed forms of the variance of a resample's mean, counted in f64 with NumPy over E[WsWt] · E[ViVj], where W and
    /// V are how often a seed and a picture are drawn: E[W²] = 2 − 1/S, E[WsWt] = 1 − 1/S, the same of V for n pictures.
    ///
    /// ```python
    /// X = np.array([[(i * a) % 101 < c for i in range(1000)] for a, c in ((7, 80), (13, 81), (29, 83))], float)
    /// moment = lambda n: np.full((n, n), 1 - 1 / n) + np.eye(n)
    /// half = lambda X: 1.959964 * np.sqrt(((X.T @ moment(len(X)) @ X) * moment(X.shape[1])).sum() / X.size**2 - X.mean()**2)
    /// X.mean(), half(X), (X[1:] - X[:2]).mean(), half(X[1:] - X[:2])
    /// ```
    #[test]
    fn seeds_and_pictures_vary_together() {
        let model = |(a, c)| (0..1000).map(|i: usize| (i * a) % 101 < c).collect::<Vec<bool>>();
        let all = Resampled::of(&[(7, 80), (13, 81), (29, 83)].map(model));
        near(all.mean(&[0, 1, 2]), 0.806, 0.022_092_6, 0.03);
        // Two seeds make three kinds of resamples, whose mixture has longer tails than the normal; the same seeds or
        // the same pictures always would make it narrower by a third at least.
        near(all.difference(&[(0, 1), (1, 2)]), 0.0145, 0.029_286_8, 0.08);
        assert_eq!(all.difference(&[(1, 1)]), (0.0, 0.0));
    }
}

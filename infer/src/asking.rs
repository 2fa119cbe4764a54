//! Which teacher is asked about which pictures.

use anyhow::{Result, bail, ensure};
use artifacts::{Fold, Folds, Images, Source};

/// Who is asked about what: all about everything, or each about the fold that it has not seen.
pub(crate) struct Asking {
    /// All pictures.
    all: Vec<usize>,
    teachers: usize,
    /// The folds of the pictures, and that of each teacher, from 0.
    apart: Option<(Folds, Vec<usize>)>,
}

impl Asking {
    /// Of the teachers in `sources` about `images`: each about its fold where all were trained with one of these very
    /// pictures.
    ///
    /// # Errors
    /// Teachers with a fold of these pictures beside others, or with folds of another number; a fold without a teacher;
    /// a teacher with a fold of other pictures.
    pub(crate) fn of(sources: &[Source], images: &Images) -> Result<Self> {
        let all = (0..images.len()).collect();
        let of = |source| left_out(source, images);
        let left_out: Vec<Option<Fold>> = sources.iter().map(of).collect::<Result<_>>()?;
        let teachers = sources.len();
        let Some(one) = left_out.iter().copied().flatten().next() else {
            return Ok(Self { all, teachers, apart: None });
        };
        let mut own = Vec::new();
        for (source, fold) in sources.iter().zip(&left_out) {
            match fold {
                Some(fold) if fold.of == one.of => own.push(fold.number - 1),
                Some(fold) => bail!(
                    "{}: left out fold {fold}, another teacher {one}: all teachers must be of the same K",
                    source.name
                ),
                None => bail!(
                    "{}: has not left out a fold of these pictures, another teacher has ({one}): whoever has seen a \
                     picture must not answer beside those that have not: take teachers of train --fold 1/{k} to \
                     {k}/{k}, or none of them",
                    source.name,
                    k = one.of
                ),
            }
        }
        let missing: Vec<String> = (0..one.of)
            .filter(|fold| !own.contains(fold))
            .map(|fold| Fold { number: fold + 1, of: one.of }.to_string())
            .collect();
        ensure!(
            missing.is_empty(),
            "fold {}: all teachers have seen its pictures: give one more --teacher, of train --fold {}",
            missing.join(", "),
            missing[0]
        );
        Ok(Self { all, teachers, apart: Some((Folds::new(images, one.of)?, own)) })
    }

    /// How many folds the pictures were parted in.
    pub(crate) fn folds(&self) -> Option<usize> {
        self.apart.as_ref().map(|(folds, _)| folds.count())
    }

    /// What is asked of this teacher, ascending.
    pub(crate) fn of_teacher(&self, teacher: usize) -> &[usize] {
        self.apart.as_ref().map_or(&self.all, |(folds, own)| folds.members(own[teacher]))
    }

    /// Pictures that are asked about, by all teachers together.
    pub(crate) fn pictures(&self) -> usize {
        (0..self.teachers).map(|teacher| self.of_teacher(teacher).len()).sum()
    }

    /// What partners of picture `i` are drawn from: what its teachers have not seen either.
    pub(crate) fn peers(&self, i: usize) -> &[usize] {
        self.apart.as_ref().map_or(&self.all, |(folds, _)| folds.members(folds.of(i)))
    }

    /// Mean logits `[views, n, classes]` of `answers`, those of each teacher, `[views, pictures, classes]`, one after the
    /// other.
    ///
    /// Of logits, not of probabilities: what a student follows are logits over a temperature, and the softmax of their
    /// mean is the normalized geometric mean of what the teachers hold likely (Hinton et al. 2015, section 1, take
    /// either mean).
    pub(crate) fn mean(&self, answers: Vec<f32>, views: usize, classes: usize) -> Vec<f32> {
        let n = self.all.len();
        if self.teachers == 1 {
            return answers;
        }
        let mut mean = vec![0.0; views * n * classes];
        let mut summed = vec![0u16; n];
        let mut at = 0;
        for teacher in 0..self.teachers {
            let pictures = self.of_teacher(teacher);
            for (k, i) in (0..views).flat_map(|k| pictures.iter().map(move |i| (k, *i))) {
                let sum = &mut mean[(k * n + i) * classes..][..classes];
                let own = &answers[at..at + classes];
                at += classes;
                if summed[i] == 0 {
                    sum.copy_from_slice(own); // 0 + −0 would be 0
                } else {
                    sum.iter_mut().zip(own).for_each(|(a, b)| *a += b);
                }
            }
            pictures.iter().for_each(|i| summed[*i] += 1);
        }
        for (row, sum) in mean.chunks_exact_mut(classes.max(1)).enumerate() {
            sum.iter_mut().for_each(|v| *v /= f32::from(summed[row % n]));
        }
        mean
    }

    /// For the summary: who answered what, where not all did.
    pub(crate) fn told(&self) -> String {
        self.folds().map_or_else(String::new, |k| {
            format!(", each of the {k} folds by teachers that had not seen it")
        })
    }
}

/// The fold of `images` that the model in `source` was not shown.
///
/// # Errors
/// A fold of other pictures: the same photos, prepared anew or one more beside them, are parted otherwise, so nobody knows
/// which of these it has seen, and a mean over all would hide that.
fn left_out(source: &Source, images: &Images) -> Result<Option<Fold>> {
    let fold = Fold::left_out(source, images)?;
    if fold.is_none()
        && let Some(fold) = Fold::told(source)?
    {
        bail!(
            "{}: left out fold {fold} of other pictures than {}: ask about the very file that it was trained on, train \
             it anew on this one, or take teachers without --fold",
            source.name,
            images.source.name
        );
    }
    Ok(fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, of two classes: two teachers of everything, in each of two views.
    #[test]
    fn everything_is_the_mean_of_all() {
        let all = Asking { all: vec![0, 1], teachers: 2, apart: None };
        let answers =
            [[1.0, 2.0, 3.0, -0.0, 5.0, 6.0, 7.0, 8.0], [3.0, 0.0, 1.0, -0.0, 1.0, 0.0, 1.0, 4.0]];
        let mean = all.mean(answers.concat(), 2, 2);
        assert_eq!(mean, [2.0, 1.0, 2.0, 0.0, 3.0, 3.0, 4.0, 6.0]);
        assert!(mean[3].is_sign_negative());
        assert_eq!((all.pictures(), all.peers(1), all.folds()), (4, &[0, 1][..], None));
    }
}

//! Which labels a teacher holds unlikely.

/// A picture, its label, and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Suspect {
    /// Which picture.
    pub(super) picture: usize,
    /// The class it was given.
    pub(super) label: usize,
    /// Probability of that class.
    pub(super) probability: f64,
    /// The likeliest class.
    pub(super) answer: usize,
    /// Probability of that one.
    pub(super) answer_probability: f64,
    /// The likeliest of the classes that reach the mean of their own pictures, if any does, and its probability.
    pub(super) confident: Option<(usize, f64)>,
}

impl Suspect {
    /// Whether confident learning counts it among the wrong ones.
    pub(super) fn is_probably_wrong(&self) -> bool {
        self.confident.is_some_and(|(class, _)| class != self.label)
    }
}

/// The labelled pictures, the least likely label first, by `probabilities` `[n, classes]`.
///
/// Probably wrong is a label by the confident joint of Northcutt et al. 2021 ("Confident learning: estimating uncertainty
/// in dataset labels", section 3.1, equation 1): among the classes whose probability reaches the mean that the pictures
/// labelled so give their own label, the likeliest is another than the given one. The means make up for classes of which
/// a teacher is never sure, and for teachers that are too sure of all.
pub(super) fn find(probabilities: &[Vec<f64>], labels: &[Option<usize>]) -> Vec<Suspect> {
    let classes = probabilities.first().map_or(0, Vec::len);
    let labelled = || labels.iter().enumerate().filter_map(|(i, label)| label.map(|l| (i, l)));
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0usize; classes]);
    for (i, label) in labelled() {
        sums[label] += probabilities[i][label];
        counts[label] += 1;
    }
    // Of a class that nothing is labelled as nobody knows how sure one is.
    let reaches =
        |class: usize, p: f64| counts[class] > 0 && p >= sums[class] / counts[class] as f64;
    let suspect = |(picture, label): (usize, usize)| {
        let p = &probabilities[picture];
        let answer = likeliest(p, |_| true).unwrap_or(label);
        let confident = likeliest(p, |class| reaches(class, p[class]));
        Suspect {
            picture,
            label,
            probability: p[label],
            answer,
            answer_probability: p[answer],
            confident: confident.map(|class| (class, p[class])),
        }
    };
    let mut all: Vec<Suspect> = labelled().map(suspect).collect();
    // Stable: equals stay in the order of the pictures.
    all.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    all
}

/// The class of the largest probability among those that `counts`; of equals the first.
fn likeliest(p: &[f64], counts: impl Fn(usize) -> bool) -> Option<usize> {
    let classes = (0..p.len()).filter(|class| counts(*class));
    classes.max_by(|a, b| p[*a].total_cmp(&p[*b]).then(b.cmp(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand. Class 0: pictures of .9, .8 and .1, mean .6; class 1: .6 and .2, mean .4; class 2: none. The third picture
    /// reaches class 1 alone (.7): wrong. The fifth, labelled 1, reaches neither 0 (.5 < .6) nor 1: suspected, and not
    /// counted. What has no label is not looked at.
    #[test]
    fn the_confident_joint_by_hand() {
        let p = [
            [0.9, 0.05, 0.05],
            [0.8, 0.1, 0.1],
            [0.1, 0.7, 0.2],
            [0.3, 0.6, 0.1],
            [0.5, 0.2, 0.3],
            [0.0, 0.0, 1.0],
        ];
        let labels = [Some(0), Some(0), Some(0), Some(1), Some(1), None];
        let found = find(&p.map(Vec::from), &labels);
        let order: Vec<usize> = found.iter().map(|s| s.picture).collect();
        assert_eq!(order, [2, 4, 3, 1, 0]);
        let wrong: Vec<bool> = found.iter().map(Suspect::is_probably_wrong).collect();
        assert_eq!(wrong, [true, false, false, false, false]);
        let first = Suspect {
            picture: 2,
            label: 0,
            probability: 0.1,
            answer: 1,
            answer_probability: 0.7,
            confident: Some((1, 0.7)),
        };
        assert_eq!(found[0], first);
        assert_eq!(
            (found[1].answer, found[1].answer_probability, found[1].confident),
            (0, 0.5, None)
        );
        assert_eq!(likeliest(&[0.5, 0.5], |_| true), Some(0));
    }

    /// By hand. Class 0: pictures of .4 and .2, mean .3; class 1: .9 and .6, mean .75. The last is likeliest what it is
    /// labelled, which is little for a 1, while its .4 is much for a 0: probably wrong, and 0 is why.
    #[test]
    fn the_answer_may_be_the_label_of_what_is_probably_wrong() {
        let p = [[0.4, 0.6], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]];
        let found = find(&p.map(Vec::from), &[Some(0), Some(0), Some(1), Some(1)]);
        let told: Vec<_> = found.iter().map(|s| (s.picture, s.answer, s.confident)).collect();
        let (a, b) = (Some((0, 0.4)), Some((1, 0.8)));
        assert_eq!(told, [(1, 1, b), (0, 1, a), (3, 1, a), (2, 1, Some((1, 0.9)))]);
        let wrong: Vec<bool> = found.iter().map(Suspect::is_probably_wrong).collect();
        assert_eq!(wrong, [true, false, true, false]);
    }
}

//! Calls and what they took. bench/timing.py times other programs nearly so: it stops after ten seconds.

use anyhow::Result;
use std::time::Instant;

/// Seconds that calls took, ascending; one at least.
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Of seconds in any order.
    ///
    /// # Panics
    /// Where there are none.
    pub(crate) fn new(mut seconds: Vec<f64>) -> Self {
        assert!(!seconds.is_empty(), "no call has no time");
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// Of `steps` calls, one at least.
    ///
    /// # Errors
    /// The first of a call.
    pub(crate) fn of(steps: usize, mut call: impl FnMut() -> Result<()>) -> Result<Self> {
        let seconds = (0..steps.max(1)).map(|_| seconds(&mut call)).collect::<Result<_>>()?;
        Ok(Self::new(seconds))
    }

    /// The one in the middle, the upper one of two.
    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The shortest.
    pub(crate) fn best(&self) -> f64 {
        self.0[0]
    }

    /// The nearest rank: the shortest that at least `percent` of a hundred calls were not above.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

fn seconds(call: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    call()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Calls until they are no longer getting faster; what the first ones allocate, pack or page in is done then,
/// and the processor has left its sleep.
///
/// # Errors
/// The first of a call.
pub(crate) fn warm_up(mut call: impl FnMut() -> Result<()>) -> Result<()> {
    let (start, mut warmth) = (Instant::now(), Warmth::default());
    loop {
        warmth.add(seconds(&mut call)?);
        if warmth.is_enough(start.elapsed().as_secs_f64()) {
            return Ok(());
        }
    }
}

/// When to stop warming up.
#[derive(Default)]
struct Warmth {
    calls: usize,
    best: Option<f64>,
    /// Calls in a row that were no more than a twentieth faster than any before them.
    level: usize,
}

impl Warmth {
    fn add(&mut self, seconds: f64) {
        let is_faster = self.best.is_none_or(|best| seconds < 0.95 * best);
        self.level = if is_faster { 0 } else { self.level + 1 };
        self.best = Some(self.best.map_or(seconds, |best| best.min(seconds)));
        self.calls += 1;
    }

    /// Five calls and 0.2 s, and five in a row without a new best; or 2 s, as beside other work a new best
    /// may come at any time.
    fn is_enough(&self, elapsed: f64) -> bool {
        self.calls >= 5 && (elapsed >= 2.0 || self.level >= 5 && elapsed >= 0.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_by_hand() {
        // Of the five 15, 20, 35, 40, 50: 30 % are 1.5 of them, so the second; 40 % are two, the second
        // too; 50 % are 2.5, the third; 81 % are 4.05, the fifth.
        let five = Times::new(vec![40.0, 15.0, 50.0, 20.0, 35.0]);
        let ranks = [(0, 15.0), (20, 15.0), (30, 20.0), (40, 20.0), (50, 35.0), (80, 40.0)];
        for (percent, expected) in ranks.into_iter().chain([(81, 50.0), (100, 50.0)]) {
            assert_eq!(five.percentile(percent), expected, "{percent} %");
        }
        // Of 1 to 200, 99 % are 198 of them; of 1 to 150 they are 148.5.
        let up_to = |n: u32| Times::new((1..=n).rev().map(f64::from).collect());
        assert_eq!(up_to(200).percentile(99), 198.0);
        assert_eq!(up_to(150).percentile(99), 149.0);
        assert_eq!(up_to(1).percentile(99), 1.0);
        assert_eq!((up_to(4).median(), up_to(4).percentile(50), up_to(4).best()), (3.0, 2.0, 1.0));
    }

    #[test]
    fn warming_up_ends_when_five_calls_bring_nothing_new() {
        let mut warmth = Warmth::default();
        for seconds in [1.0, 0.5, 0.49, 0.5, 0.6] {
            warmth.add(seconds);
        }
        // Since 0.5, which halved the time, there were three calls; 0.49 is no twentieth faster.
        assert!(!warmth.is_enough(1.0), "three calls bring nothing new, not five");
        assert!(warmth.is_enough(2.0), "two seconds are enough");
        warmth.add(0.5);
        warmth.add(0.5);
        assert!(!warmth.is_enough(0.19), "too soon");
        assert!(warmth.is_enough(0.2));
        // A twentieth of 0.49 less is 0.4655.
        warmth.add(0.465);
        assert!(!warmth.is_enough(1.0), "a new best");
        let one = Warmth { calls: 4, best: Some(3.0), level: 3 };
        assert!(!one.is_enough(12.0), "five calls, however long they take");
    }

    #[test]
    fn as_many_calls_are_timed_as_are_asked_for() {
        let mut calls = 0;
        let times = Times::of(7, || {
            calls += 1;
            Ok(())
        });
        assert_eq!(times.map(|t| t.0.len()).ok(), Some(7));
        assert_eq!(calls, 7);
    }
}

//! A window moved over a picture: what convolutions and pools have in common.

use crate::error::{Result, ensure};
use std::fmt;

/// Largest kernel: the place of a maximum in its window then fits a byte.
const MOST: usize = 15;

/// A square window; the same stride and padding both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side, pixels.
    pub kernel: usize,
    /// Distance between two positions, pixels.
    pub stride: usize,
    /// Margin on each side, pixels.
    pub padding: usize,
    /// Whether a last position that reaches beyond the picture counts (PyTorch's `ceil_mode`).
    pub ceil: bool,
}

impl Window {
    /// A window whose last position lies inside the padded picture.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, padding, ceil: false }
    }

    /// A single pixel.
    pub const POINT: Self = Self::new(1, 1, 0);

    /// Number of positions along a side of `n` pixels, by PyTorch's rules.
    ///
    /// # Errors
    /// A side shorter than the window.
    pub fn positions(&self, n: usize) -> Result<usize> {
        let (padded, kernel) = (n + 2 * self.padding, self.kernel);
        ensure!(padded >= kernel, "{n} pixels are fewer than the window of {kernel}");
        Ok(self.output(n))
    }

    /// Positions over a picture of [height, width].
    ///
    /// # Errors
    /// A picture smaller than the window.
    pub fn over(&self, [h, w]: [usize; 2]) -> Result<[usize; 2]> {
        Ok([self.positions(h)?, self.positions(w)?])
    }

    /// [`Window::positions`] of a side that is known to be long enough.
    pub const fn output(&self, n: usize) -> usize {
        let room = (n + 2 * self.padding).saturating_sub(self.kernel);
        let floor = room / self.stride + 1;
        // A position that would begin in the margin behind the picture does not count.
        let starts_inside = floor * self.stride < n + self.padding;
        if self.ceil && !room.is_multiple_of(self.stride) && starts_inside {
            floor + 1
        } else {
            floor
        }
    }

    /// Pixels behind a side of `n` that the positions cover: the margin, or more where a last position of
    /// `ceil` reaches beyond it. With so much behind it a side has the same positions rounded down.
    pub const fn behind(&self, n: usize) -> usize {
        let end = (self.output(n) - 1) * self.stride + self.kernel;
        let reach = end.saturating_sub(n + self.padding);
        if reach > self.padding { reach } else { self.padding }
    }

    /// Whether positions lie side by side, each row of pixels in one row of positions.
    pub const fn tiles(&self) -> bool {
        self.stride == self.kernel && self.padding == 0 && !self.ceil
    }

    /// Pixels under a window: its taps.
    pub const fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Checks sizes; a pool's margin, which must never be a whole window, is less than the kernel.
    pub(crate) fn check(&self, is_pool: bool) -> Result<()> {
        let Self { kernel, stride, padding, .. } = *self;
        ensure!((1..=MOST).contains(&kernel), "kernel {kernel} is not in 1..={MOST}");
        ensure!((1..=super::LIMIT).contains(&stride), "stride {stride}");
        let most = if is_pool { kernel } else { kernel.max(2) };
        ensure!(padding < most, "padding {padding} of a window of {kernel}");
        Ok(())
    }
}

/// As words of a graph's text, with a space before each: ` k3 s2 p1 ceil`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " k{}", self.kernel)?;
        if self.stride != 1 {
            write!(f, " s{}", self.stride)?;
        }
        if self.padding != 0 {
            write!(f, " p{}", self.padding)?;
        }
        f.write_str(if self.ceil { " ceil" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.max_pool2d(torch.zeros(1, 1, n, n), k, s, p, ceil_mode=c).shape[2]`,
    /// PyTorch 2.15.
    #[test]
    fn positions_equal_torch() {
        for (kernel, stride, padding, ceil, n, expected) in [
            (3, 2, 0, false, 8, 3),
            (3, 2, 0, true, 8, 4),
            (3, 2, 1, true, 8, 5),
            (2, 2, 0, true, 7, 4),
            (2, 2, 1, true, 6, 4),
            (2, 2, 1, true, 7, 4),
            (3, 3, 1, true, 5, 2),
            (1, 3, 0, true, 5, 2),
            (2, 4, 0, true, 7, 2),
            (2, 4, 0, true, 8, 2),
        ] {
            let window = Window { ceil, ..Window::new(kernel, stride, padding) };
            assert_eq!(window.positions(n), Ok(expected), "{window:?} on {n}");
        }
        assert!(Window::new(3, 1, 0).positions(2).is_err());
    }

    /// Every window that a pool may have, on every side that it fits.
    fn windows() -> impl Iterator<Item = (Window, usize)> {
        let all = (1..=6).flat_map(|k| (1..=5).flat_map(move |s| (0..k).map(move |p| (k, s, p))));
        let all = all.flat_map(|(k, s, p)| [false, true].map(|c| (Window::new(k, s, p), c)));
        let all = all.map(|(window, ceil)| Window { ceil, ..window });
        all.flat_map(|w| {
            (1..20).filter(move |n| n + 2 * w.padding >= w.kernel).map(move |n| (w, n))
        })
    }

    /// No maximum is one of nothing.
    #[test]
    fn no_position_lies_in_the_margin_alone() {
        for (w, n) in windows() {
            for at in 0..w.output(n) {
                // Pixels of the picture, counted from the margin's begin.
                let (first, last) = (w.padding, w.padding + n);
                let (start, end) = (at * w.stride, at * w.stride + w.kernel);
                assert!(start < last && end > first, "position {at} of {w:?} on {n}");
            }
        }
    }

    /// By hand: 12 px and a margin of 1 are 13 from the margin on; windows of 3 begin at 0, 2, …, 12 and the
    /// last ends at 15. Of 13 px and a margin of 1, windows of 2 begin at 0, 2, …, 12; the next would begin
    /// behind the picture, in the margin.
    #[test]
    fn what_lies_behind_makes_the_same_positions_rounded_down() {
        let ceil = |k, s, p| Window { ceil: true, ..Window::new(k, s, p) };
        for (window, n, expected) in [
            (ceil(3, 2, 1), 12, 2),
            (ceil(2, 2, 1), 13, 1),
            (ceil(3, 2, 0), 12, 1),
            (ceil(3, 2, 0), 13, 0),
            (Window::new(3, 2, 1), 12, 1),
        ] {
            assert_eq!(window.behind(n), expected, "{window:?} on {n}");
        }
        for (w, n) in windows() {
            let positions = (n + w.padding + w.behind(n) - w.kernel) / w.stride + 1;
            assert_eq!(positions, w.output(n), "{w:?} on {n}");
            assert!(w.behind(n) < w.kernel, "{w:?} on {n}");
        }
    }
}

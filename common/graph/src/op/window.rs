//! A window moved over a picture: what convolutions and pools have in common.

use crate::error::{Result, ensure};
use std::fmt;

/// Largest kernel: the place of a maximum in its window then fits a byte.
const MOST: usize = 15;

/// A square window; the same stride and kind of margin both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side, pixels.
    pub kernel: usize,
    /// Distance between two positions, pixels.
    pub stride: usize,
    /// What lies around the picture.
    pub margin: Margin,
}

/// How far positions reach beyond a picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Margin {
    /// So far on each side; the last position lies inside (PyTorch's `padding`).
    Each(usize),
    /// So far on each side, and a last position that reaches further behind counts (its `ceil_mode`).
    Ceil(usize),
    /// As far as one position for every `stride` pixels, the last begun ones included, needs; half of it
    /// before, rounded down (TensorFlow's documentation of `tf.nn`, "SAME padding").
    Same,
}

impl Window {
    /// A window whose last position lies inside the picture with `padding` on each side.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, margin: Margin::Each(padding) }
    }

    /// The same whose last position may reach beyond.
    pub const fn ceil(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, margin: Margin::Ceil(padding) }
    }

    /// A window with the margin that TensorFlow calls the same.
    pub const fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, margin: Margin::Same }
    }

    /// A single pixel.
    pub const POINT: Self = Self::new(1, 1, 0);

    /// Number of positions along a side of `n` pixels, by PyTorch's rules, or TensorFlow's.
    ///
    /// # Errors
    /// A side shorter than the window.
    pub fn positions(&self, n: usize) -> Result<usize> {
        let kernel = self.kernel;
        let fits = match self.margin {
            Margin::Each(padding) | Margin::Ceil(padding) => n + 2 * padding >= kernel,
            Margin::Same => n > 0,
        };
        ensure!(fits, "{n} pixels are fewer than the window of {kernel}");
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
        match self.margin {
            Margin::Each(padding) => self.inside(n + 2 * padding),
            Margin::Ceil(padding) => {
                let (room, inside) = (n + 2 * padding, self.inside(n + 2 * padding));
                let is_full = room.saturating_sub(self.kernel).is_multiple_of(self.stride);
                // A position that would begin in the margin behind the picture does not count.
                let starts_inside = inside * self.stride < n + padding;
                if !is_full && starts_inside { inside + 1 } else { inside }
            }
            Margin::Same => n.div_ceil(self.stride),
        }
    }

    /// Positions that lie within `room` pixels.
    const fn inside(&self, room: usize) -> usize {
        room.saturating_sub(self.kernel) / self.stride + 1
    }

    /// Pixels before a side of `n` that positions cover: the first begins so far before the picture.
    pub const fn before(&self, n: usize) -> usize {
        match self.margin {
            Margin::Each(padding) | Margin::Ceil(padding) => padding,
            Margin::Same => self.end(n).saturating_sub(n) / 2,
        }
    }

    /// Pixels behind a side of `n` that the positions cover: the margin, or more where a last position of
    /// `ceil` reaches beyond it. With so much behind it a side has the same positions rounded down.
    pub const fn behind(&self, n: usize) -> usize {
        let reach = self.end(n).saturating_sub(n + self.before(n));
        let least = match self.margin {
            Margin::Each(padding) | Margin::Ceil(padding) => padding,
            Margin::Same => 0,
        };
        if reach < least { least } else { reach }
    }

    /// Where the last position ends on a side of `n`, pixels from the begin of the first.
    const fn end(&self, n: usize) -> usize {
        (self.output(n) - 1) * self.stride + self.kernel
    }

    /// Whether positions lie side by side, each row of pixels in one row of positions.
    pub const fn tiles(&self) -> bool {
        self.stride == self.kernel && matches!(self.margin, Margin::Each(0))
    }

    /// Pixels under a window: its taps.
    pub const fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Checks sizes; a pool's margin, which must never be a whole window, is less than the kernel.
    pub(crate) fn check(&self, is_pool: bool) -> Result<()> {
        let Self { kernel, stride, margin } = *self;
        ensure!((1..=MOST).contains(&kernel), "kernel {kernel} is not in 1..={MOST}");
        ensure!((1..=super::LIMIT).contains(&stride), "stride {stride}");
        let most = if is_pool { kernel } else { kernel.max(2) };
        if let Margin::Each(padding) | Margin::Ceil(padding) = margin {
            ensure!(padding < most, "padding {padding} of a window of {kernel}");
        }
        Ok(())
    }
}

/// As words of a graph's text, with a space before each: ` k3 s2 p1 ceil`, ` k3 s2 same`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " k{}", self.kernel)?;
        if self.stride != 1 {
            write!(f, " s{}", self.stride)?;
        }
        if let Margin::Each(padding @ 1..) | Margin::Ceil(padding @ 1..) = self.margin {
            write!(f, " p{padding}")?;
        }
        f.write_str(match self.margin {
            Margin::Each(_) => "",
            Margin::Ceil(_) => " ceil",
            Margin::Same => " same",
        })
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
            let window = if ceil { Window::ceil } else { Window::new };
            let window = window(kernel, stride, padding);
            assert_eq!(window.positions(n), Ok(expected), "{window:?} on {n}");
        }
        assert!(Window::new(3, 1, 0).positions(2).is_err());
    }

    /// Every window that a pool may have, on every side that it fits.
    fn windows() -> impl Iterator<Item = (Window, usize)> {
        let sizes = (1..=6).flat_map(|k| (1..=5).map(move |s| (k, s)));
        let all = sizes.flat_map(|(k, s)| {
            let even = (0..k).flat_map(move |p| [Window::new(k, s, p), Window::ceil(k, s, p)]);
            even.chain([Window::same(k, s)])
        });
        all.flat_map(|w| (1..20).filter(move |n| w.positions(*n).is_ok()).map(move |n| (w, n)))
    }

    /// No maximum is one of nothing.
    #[test]
    fn no_position_lies_in_the_margin_alone() {
        for (w, n) in windows() {
            for at in 0..w.output(n) {
                // Pixels of the picture, counted from the margin's begin.
                let (first, last) = (w.before(n), w.before(n) + n);
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
        let ceil = Window::ceil;
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
            let positions = (n + w.before(n) + w.behind(n) - w.kernel) / w.stride + 1;
            assert_eq!(positions, w.output(n), "{w:?} on {n}");
            assert!(w.behind(n) < w.kernel, "{w:?} on {n}");
        }
    }

    /// By hand from TensorFlow's definition: 224 px at stride 2 are 112 positions, which with windows of 3
    /// need 2 · 111 + 3 − 224 = 1 pixel more, behind; 5 px are 3 positions, 2 · 2 + 3 − 5 = 2 more, one on each
    /// side. What a position would leave out, as a window of 1 at stride 2 does, is no margin.
    #[test]
    fn same_is_tensorflows() {
        for (kernel, stride, n, expected) in [
            (3, 2, 224, [112, 0, 1]),
            (3, 2, 5, [3, 1, 1]),
            (3, 1, 6, [6, 1, 1]),
            (5, 2, 14, [7, 1, 2]),
            (5, 2, 7, [4, 2, 2]),
            (5, 1, 2, [2, 2, 2]),
            (2, 1, 4, [4, 0, 1]),
            (1, 2, 6, [3, 0, 0]),
            (3, 4, 6, [2, 0, 1]),
            (5, 2, 1, [1, 2, 2]),
        ] {
            let w = Window::same(kernel, stride);
            assert_eq!([w.output(n), w.before(n), w.behind(n)], expected, "{w:?} on {n}");
        }
    }
}

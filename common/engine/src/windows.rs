//! Positions of a window over a map.

use graph::Window;

/// Height, width, channels.
pub(crate) type Size = (usize, usize, usize);

/// Calls `f(output position, input position, place in the window)`, windows in row order.
#[inline(always)]
pub(crate) fn for_places((h, w, _): Size, win: Window, mut f: impl FnMut(usize, usize, u8)) {
    let (ow, above, left) = (win.output(w), win.before(h), win.before(w));
    for oy in 0..win.output(h) {
        for ox in 0..ow {
            for ky in 0..win.kernel {
                let iy = oy * win.stride + ky;
                if iy < above || iy - above >= h {
                    continue;
                }
                for kx in 0..win.kernel {
                    let ix = ox * win.stride + kx;
                    if ix >= left && ix - left < w {
                        let from = (iy - above) * w + ix - left;
                        f(oy * ow + ox, from, (ky * win.kernel + kx) as u8);
                    }
                }
            }
        }
    }
}

//! Positions of a window over a map.

use graph::Window;

/// Height, width, channels.
pub(crate) type Size = (usize, usize, usize);

/// Calls `f(output position, input position, place in the window)`, windows in row order.
#[inline(always)]
pub(crate) fn for_places((h, w, _): Size, win: Window, mut f: impl FnMut(usize, usize, u8)) {
    let ow = win.output(w);
    for oy in 0..win.output(h) {
        for ox in 0..ow {
            for ky in 0..win.kernel {
                let iy = oy * win.stride + ky;
                if iy < win.padding || iy - win.padding >= h {
                    continue;
                }
                for kx in 0..win.kernel {
                    let ix = ox * win.stride + kx;
                    if ix >= win.padding && ix - win.padding < w {
                        let from = (iy - win.padding) * w + ix - win.padding;
                        f(oy * ow + ox, from, (ky * win.kernel + kx) as u8);
                    }
                }
            }
        }
    }
}

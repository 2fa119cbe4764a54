//! The words of an operation's text.

use super::{LIMIT, Window};
use crate::error::{Error, Result, bail, ensure};

fn number(text: &str) -> Result<usize> {
    let n = text.parse().map_err(|_| Error::new(format!("{text:?} is not a whole number")));
    let n: usize = n?;
    ensure!(n <= LIMIT, "{n} is larger than {LIMIT}");
    Ok(n)
}

/// The words behind an operation's name, in any order; each is taken once.
pub(crate) struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    /// The operation's name and the words behind it.
    pub(crate) fn new(text: &'a str) -> (&'a str, Self) {
        let mut words = text.split_whitespace();
        (words.next().unwrap_or_default(), Self(words.collect()))
    }

    /// What nobody has taken.
    pub(crate) fn rest(&self) -> String {
        self.0.join(" ")
    }

    /// The nodes in `@i,j`.
    pub(crate) fn inputs(&mut self) -> Result<Option<Vec<usize>>> {
        let list = self.take(|w| w.strip_prefix('@'));
        list.map(|l| l.split(',').map(number).collect()).transpose()
    }

    /// The first word that `f` accepts, as what `f` makes of it.
    fn take<T>(&mut self, f: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        let (at, found) = self.0.iter().enumerate().find_map(|(i, w)| Some((i, f(w)?)))?;
        self.0.remove(at);
        Some(found)
    }

    /// The number behind a letter.
    fn letter(&mut self, letter: char) -> Result<Option<usize>> {
        self.take(|w| w.strip_prefix(letter)).map(number).transpose()
    }

    /// `IN>OUT`.
    pub(crate) fn pair(&mut self) -> Result<(usize, usize)> {
        match self.take(|w| w.split_once('>')) {
            Some((a, b)) => Ok((number(a)?, number(b)?)),
            None => bail!("expected IN>OUT"),
        }
    }

    /// `START..END`.
    pub(crate) fn range(&mut self) -> Result<(usize, usize)> {
        match self.take(|w| w.split_once("..")) {
            Some((a, b)) => Ok((number(a)?, number(b)?)),
            None => bail!("expected START..END"),
        }
    }

    /// A number of channels.
    pub(crate) fn number(&mut self) -> Result<usize> {
        match self.take(|w| w.starts_with(|c: char| c.is_ascii_digit()).then_some(w)) {
            Some(word) => number(word),
            None => bail!("expected a number of channels"),
        }
    }

    /// `kN`.
    pub(crate) fn kernel(&mut self) -> Result<Option<usize>> {
        self.letter('k')
    }

    /// `kN sN pN ceil` or `kN sN same`; stride 1 and padding 0 where they are left out.
    pub(crate) fn window(&mut self) -> Result<Window> {
        let Some(kernel) = self.letter('k')? else { bail!("expected a window kN") };
        // Before the stride, whose letter it begins with. Beside it `p1` and `ceil` stay, as unknown words.
        let same = self.flag("same");
        let stride = self.stride()?;
        if same {
            return Ok(Window::same(kernel, stride));
        }
        let padding = self.letter('p')?.unwrap_or(0);
        let window = if self.flag("ceil") { Window::ceil } else { Window::new };
        Ok(window(kernel, stride, padding))
    }

    /// `epsX`.
    pub(crate) fn epsilon(&mut self) -> Result<Option<f32>> {
        let found = self.take(|w| w.strip_prefix("eps"));
        let value = |text: &str| {
            let refused =
                || Error::new(format!("the epsilon {text} is no decimal from 1e-12 to 1"));
            super::decimal::read(text).ok_or_else(refused)
        };
        found.map(value).transpose()
    }

    /// Whole numbers below 256 with commas between them.
    pub(crate) fn taps(&mut self) -> Result<Option<Vec<u8>>> {
        let refused = |t: &str| Error::new(format!("the tap {t:?} is not in 0..=255"));
        let list = self.take(|w| {
            (w.starts_with(|c: char| c.is_ascii_digit()) && w.contains(',')).then_some(w)
        });
        list.map(|l| l.split(',').map(|t| t.parse().map_err(|_| refused(t))).collect()).transpose()
    }

    /// `sN`, 1 where it is left out.
    pub(crate) fn stride(&mut self) -> Result<usize> {
        Ok(self.letter('s')?.unwrap_or(1))
    }

    /// `gN`.
    pub(crate) fn groups(&mut self) -> Result<Option<usize>> {
        self.letter('g')
    }

    /// Whether a word is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.take(|w| (w == name).then_some(())).is_some()
    }
}

//! What goes wrong with networks: one line of text.

use std::fmt;

/// Something that does not fit, in one line that says what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// A value or an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same error, with the place where it happened before it.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Return an [`Error`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::Error::new(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// Return an [`Error`].
macro_rules! bail {
    ($($text:tt)+) => {
        return Err($crate::Error::new(format!($($text)+)))
    };
}
pub(crate) use bail;

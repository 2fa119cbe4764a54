//! Pickles written as Python writes them, object by object.

use anyhow::Result;
use std::collections::HashMap;

/// A pickle being written. Python numbers every object it writes and refers back to those it has
/// written before; which ones it meets again follows from what NumPy shares between arrays.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    memo: u32,
    pub(crate) shared: HashMap<String, u32>,
}

impl Writer {
    /// Number the object just written.
    pub(crate) fn memoize(&mut self) {
        match u8::try_from(self.memo) {
            Ok(n) => self.out.extend([b'q', n]),
            Err(_) => {
                self.out.push(b'r');
                self.out.extend(self.memo.to_le_bytes());
            }
        }
        self.memo += 1;
    }

    /// Write an object that Python shares, or refer to it.
    pub(crate) fn shared(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        if let Some(n) = self.shared.get(key).copied() {
            match u8::try_from(n) {
                Ok(n) => self.out.extend([b'h', n]),
                Err(_) => {
                    self.out.push(b'j');
                    self.out.extend(n.to_le_bytes());
                }
            }
            return;
        }
        write(self);
        self.shared.insert(key.to_owned(), self.memo);
        self.memoize();
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.out.push(b'X');
        self.out.extend((text.len() as u32).to_le_bytes());
        self.out.extend(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match u8::try_from(bytes.len()) {
            Ok(n) => self.out.extend([b'C', n]),
            Err(_) => {
                self.out.push(b'B');
                self.out.extend(u32::try_from(bytes.len())?.to_le_bytes());
            }
        }
        self.out.extend(bytes);
        Ok(())
    }

    pub(crate) fn int(&mut self, n: usize) -> Result<()> {
        if let Ok(n) = u8::try_from(n) {
            self.out.extend([b'K', n]);
        } else if let Ok(n) = u16::try_from(n) {
            self.out.push(b'M');
            self.out.extend(n.to_le_bytes());
        } else {
            self.out.push(b'J');
            self.out.extend(i32::try_from(n)?.to_le_bytes());
        }
        Ok(())
    }

    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.shared(&format!("{module} {name}"), |w| {
            w.out.extend(format!("c{module}\n{name}\n").as_bytes());
        });
    }

    /// A tuple of the `n` objects just written; with more than three, after a mark.
    pub(crate) fn tuple(&mut self, n: usize) {
        self.out.push(match n {
            1 => 0x85,
            2 => 0x86,
            3 => 0x87,
            _ => b't',
        });
        self.memoize();
    }

    pub(crate) fn reduce(&mut self) {
        self.out.push(b'R');
    }
}

//! A reader for pickles that hold data, and nothing but data.
//!
//! A pickle is a program for a small stack machine (Python's `pickletools` documents every opcode).
//! This machine knows the opcodes that protocols 2 to 5 use for dicts, lists, tuples, sets, numbers,
//! strings and arrays, and the handful of names in `globals`. Any other opcode is an error that says
//! where; any other name stays a name, and what it would have made is nothing but that name. Every opcode makes at most one object and byte strings are ranges of
//! the file, so memory is proportional to the file.

use crate::globals;
use crate::object::{Global, Id, Object};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;

/// Most objects of a pickle, far more than a checkpoint has: a single byte of the file can make one.
const MOST_OBJECTS: usize = 1 << 21;

/// The objects of a pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub(super) file: &'a [u8],
    pub(super) objects: Vec<Object>,
    /// The result.
    pub root: Id,
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
    /// Bytes that calls may still copy.
    budget: usize,
}

impl<'a> Pickle<'a> {
    /// Run the pickle that starts at `start`; also returns the offset behind it.
    ///
    /// # Errors
    /// An opcode or name outside the known ones, or a damaged pickle.
    pub fn load(file: &'a [u8], start: usize) -> Result<(Self, usize)> {
        let mut m = Machine {
            file,
            at: start,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            budget: file.len().saturating_mul(16),
        };
        loop {
            let offset = m.at;
            let code = m.take(1).context("the pickle has no end")?[0];
            if code == b'.' {
                let root = m.pop()?;
                return Ok((Self { file, objects: m.objects, root }, m.at));
            }
            m.step(code)
                .with_context(|| format!("pickle opcode 0x{code:02x} at offset {offset}"))?;
            ensure!(
                m.objects.len() <= MOST_OBJECTS && m.memo.len() <= MOST_OBJECTS,
                "more than {MOST_OBJECTS} objects in a pickle, at offset {offset}"
            );
        }
    }
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.file.len());
        let end = end.with_context(|| format!("{n} bytes at {} are beyond the file", self.at))?;
        let bytes = &self.file[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    /// A little-endian number of `n` ≤ 8 bytes.
    fn number(&mut self, n: usize) -> Result<u64> {
        let mut le = [0; 8];
        le[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(le))
    }

    fn length(&mut self, n: usize) -> Result<usize> {
        Ok(usize::try_from(self.number(n)?)?)
    }

    /// A line of text, without its end.
    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.file[self.at..];
        let n = rest.iter().position(|b| *b == b'\n').context("a line without end")?;
        let line = self.take(n + 1)?;
        Ok(std::str::from_utf8(&line[..n])?)
    }

    fn push(&mut self, object: Object) {
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
    }

    fn pop(&mut self) -> Result<Id> {
        ensure!(self.stack.len() > self.marks.last().copied().unwrap_or(0), "an empty stack");
        self.stack.pop().context("an empty stack")
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().context("an empty stack")
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().context("no mark")?;
        ensure!(mark <= self.stack.len(), "a mark beyond the stack");
        Ok(self.stack.split_off(mark))
    }

    fn text(&mut self, length_bytes: usize) -> Result<()> {
        let n = self.length(length_bytes)?;
        let bytes = self.take(n)?;
        let text = std::str::from_utf8(bytes).context("text that is not UTF-8")?;
        self.push(Object::Text(text.to_owned()));
        Ok(())
    }

    fn bytes(&mut self, length_bytes: usize) -> Result<()> {
        let n = self.length(length_bytes)?;
        let start = self.at;
        self.take(n)?;
        self.push(Object::Bytes(start..start + n));
        Ok(())
    }

    fn long(&mut self, n: usize) -> Result<()> {
        let bytes = self.take(n)?;
        if n > 8 {
            self.push(Object::Long(bytes.to_vec()));
            return Ok(());
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut le = [if negative { 0xff } else { 0 }; 8];
        le[..n].copy_from_slice(bytes);
        self.push(Object::Int(i64::from_le_bytes(le)));
        Ok(())
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        ensure!(self.stack.len() >= n, "an empty stack");
        let items = self.stack.split_off(self.stack.len() - n);
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, key: usize) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<()> {
        let id = *self.memo.get(&key).with_context(|| format!("memo {key} was never set"))?;
        self.stack.push(id);
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        ensure!(items.len().is_multiple_of(2), "a key without value");
        let dict = self.top()?;
        match &mut self.objects[dict] {
            Object::Dict(entries) => {
                entries.extend(items.as_chunks().0.iter().map(|[k, v]| (*k, *v)));
            }
            Object::Foreign(_) => {}
            _ => bail!("items for no dict"),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.objects[list] {
            Object::List(entries) => entries.extend(items),
            Object::Foreign(_) => {}
            _ => bail!("items for no list"),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        ensure!(
            !globals::is_hostile(module, name),
            "{module}.{name} is not allowed: only plain arrays and tensors are read"
        );
        self.push(match Global::find(module, name) {
            Some(known) => Object::Global(known),
            None => Object::Foreign(format!("{module}.{name}")),
        });
        Ok(())
    }

    fn as_text(&self, id: Id) -> Result<String> {
        match &self.objects[id] {
            Object::Text(t) => Ok(t.clone()),
            _ => bail!("expected text"),
        }
    }

    /// Calls copy what they are given: without a limit a small file could have one large text
    /// copied over and over.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.context("far more data than the file holds")?;
        Ok(())
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            0x80 => drop(self.take(1)?), // PROTO
            0x95 => drop(self.take(8)?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(code)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.as_text(module)?, self.as_text(name)?);
                self.global(&module, &name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Persistent(id));
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = globals::call(&self.objects, self.file, function, arguments)?;
                self.charge(globals::cost(&made))?;
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                globals::build(&mut self.objects, self.file, target, state)?;
                let cost = globals::cost(&self.objects[target]);
                self.charge(cost)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(&items)?;
            }
            0x90 => drop(self.since_mark()?), // ADDITEMS: what a set holds is nothing here
            0x92 => {
                let (_named, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                let made = globals::call(&self.objects, self.file, function, arguments)?;
                self.charge(globals::cost(&made))?;
                self.push(made);
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            _ => self.literal(code)?,
        }
        Ok(())
    }

    /// What is kept in the memo and brought back from it.
    fn memory(&mut self, code: u8) -> Result<()> {
        match code {
            0x94 => self.remember(self.memo.len()),
            b'q' | b'r' => {
                let key = self.length(if code == b'q' { 1 } else { 4 })?;
                self.remember(key)
            }
            _ => {
                let key = self.length(if code == b'h' { 1 } else { 4 })?;
                self.recall(key)
            }
        }
    }

    fn literal(&mut self, code: u8) -> Result<()> {
        match code {
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'K' | b'M' => {
                let v = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Object::Int(v as i64)); // at most 65,535
            }
            b'J' => {
                let v = self.number(4)? as u32 as i32;
                self.push(Object::Int(i64::from(v)));
            }
            0x8a => {
                let n = self.length(1)?;
                self.long(n)?;
            }
            0x8b => {
                let n = self.length(4)?;
                self.long(n)?;
            }
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.push(Object::Float(f64::from_bits(bits)));
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'C' | b'U' => self.bytes(1)?,
            b'B' | b'T' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Tuple(items));
            }
            0x8f => self.push(Object::Foreign("set".to_owned())),
            0x91 => {
                self.since_mark()?;
                self.push(Object::Foreign("frozenset".to_owned()));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            _ => bail!("not allowed: only plain data is read"),
        }
        Ok(())
    }
}

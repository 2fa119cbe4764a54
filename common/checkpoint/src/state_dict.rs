//! PyTorch's own file since 1.6, written without Python: `torch.load(file, weights_only=True)` gives a
//! state dict.
//!
//! A zip archive of stored entries: `data.pkl`, a pickle of an `OrderedDict` whose tensors refer to
//! `data/0`, `data/1`, … for their values; `byteorder`; `version`.

use crate::writer::Writer;
use anyhow::Result;
use graph::Array;
use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// The archive's folder; PyTorch takes any.
const FOLDER: &str = "archive";
/// Where PyTorch lets the values of a tensor begin: at a multiple of so many bytes.
const ALIGNMENT: u16 = 64;
/// Of the format: torch.save has written 3 since 1.6.
const VERSION: &str = "3\n";

/// The file with these tensors, in this order: f32, but for batch norm's counters, which are int64.
///
/// # Errors
/// A tensor of more than 2³¹ values.
pub fn encode(entries: &[(String, Array)]) -> Result<Vec<u8>> {
    let stored = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: String, alignment: u16, data: &[u8]| -> Result<()> {
        archive.start_file(format!("{FOLDER}/{name}"), stored.with_alignment(alignment))?;
        Ok(archive.write_all(data)?)
    };
    entry("data.pkl".to_owned(), 1, &pickle(entries)?)?;
    entry("byteorder".to_owned(), 1, b"little")?;
    for (i, (name, array)) in entries.iter().enumerate() {
        let values = || array.values.iter();
        let bytes: Vec<u8> = if is_counter(name) {
            values().flat_map(|v| (*v as i64).to_le_bytes()).collect()
        } else {
            values().flat_map(|v| v.to_le_bytes()).collect()
        };
        entry(format!("data/{i}"), ALIGNMENT, &bytes)?;
    }
    entry("version".to_owned(), 1, VERSION.as_bytes())?;
    Ok(archive.finish()?.into_inner())
}

/// Whether a tensor counts the batches that a batch norm has seen.
fn is_counter(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// The dictionary; tensor i is the whole of storage i.
fn pickle(entries: &[(String, Array)]) -> Result<Vec<u8>> {
    let mut w = Writer::default();
    w.out.extend([0x80, 2]);
    w.ordered_dict();
    w.out.push(b'(');
    for (i, (name, array)) in entries.iter().enumerate() {
        w.text(name);
        w.global("torch._utils", "_rebuild_tensor_v2");
        // Its arguments behind a mark; the storage is one that the reader resolves, by a tuple.
        w.out.extend(b"((");
        w.text("storage");
        w.global("torch", if is_counter(name) { "LongStorage" } else { "FloatStorage" });
        w.text(&i.to_string());
        w.text("cpu");
        w.int(array.values.len())?;
        w.out.extend(b"tQ");
        w.int(0)?;
        w.sizes(&array.shape)?;
        let strides: Vec<usize> =
            (1..=array.shape.len()).map(|d| array.shape[d..].iter().product()).collect();
        w.sizes(&strides)?;
        w.out.push(0x89); // requires no gradient
        w.ordered_dict();
        w.out.extend(b"tR");
    }
    w.out.extend(b"u.");
    Ok(w.out)
}

impl Writer {
    /// An empty one.
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.out.extend(b")R");
    }

    /// A tuple of numbers.
    fn sizes(&mut self, sizes: &[usize]) -> Result<()> {
        self.out.push(b'(');
        for n in sizes {
            self.int(*n)?;
        }
        self.out.push(b't');
        Ok(())
    }
}

//! PyTorch's two file forms. Both hold a pickle whose tensors are views of storages kept beside it.

use crate::Archive;
use crate::dicts::Found;
use crate::numpy::places;
use crate::object::{Made, Object, TensorRef};
use crate::pickle::Pickle;
use crate::values::Tensor;
use anyhow::{Context, Result, bail, ensure};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

/// 0x1950a86a20f9469cfc6c: opens a file of PyTorch before 1.6.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a file opens with a pickle of [`MAGIC`].
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    // PROTO n, LONG1 10, the number.
    bytes.first() == Some(&0x80)
        && bytes.get(2..4) == Some(&[0x8a, 10])
        && bytes.get(4..14) == Some(&MAGIC)
}

/// Values of a view of `storage`; `file` bounds their number.
fn tensor(view: &TensorRef, storage: &[u8], file: usize) -> Result<Tensor> {
    let mut tensor = stored(view, storage, file)?;
    if view.is_negated {
        tensor.values.negate();
    }
    Ok(tensor)
}

/// As [`tensor`], with the signs that they have in the storage.
fn stored(view: &TensorRef, storage: &[u8], file: usize) -> Result<Tensor> {
    let count = view.size.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let count = count.filter(|n| *n <= file).context("more values than the file can hold")?;
    if count == 0 {
        return Tensor::new(view.size.clone(), view.storage.0.decode(&[], true));
    }
    let last = view.size.iter().zip(&view.stride).try_fold(view.offset, |at, (d, s)| {
        d.saturating_sub(1).checked_mul(*s).and_then(|n| at.checked_add(n))
    });
    let width = view.storage.0.width();
    let available = storage.len() / width;
    ensure!(
        last.is_some_and(|l| l < available),
        "a tensor {:?} from value {} reaches beyond its storage of {available}",
        view.size,
        view.offset
    );
    let mut step = 1;
    let dense = view.size.iter().zip(&view.stride).rev().all(|(d, s)| {
        let ok = *d == 1 || *s == step;
        step *= d;
        ok
    });
    if dense {
        let bytes = &storage[view.offset * width..(view.offset + count) * width];
        return Tensor::new(view.size.clone(), view.storage.0.decode(bytes, true));
    }
    // Only what the view shows is decoded: many views can share a storage.
    let places = places(&view.size, &view.stride, view.offset);
    let bytes: Vec<u8> =
        places.iter().flat_map(|i| &storage[i * width..(i + 1) * width]).copied().collect();
    Tensor::new(view.size.clone(), view.storage.0.decode(&bytes, true))
}

/// Five pickles (magic, protocol, system, the object, storage keys), then each storage: its number
/// of values in 8 bytes, its values.
pub(super) fn legacy(bytes: &[u8], part: Option<&str>) -> Result<Found> {
    let mut at = 0;
    let mut next = || -> Result<Pickle> {
        let (pickle, end) = Pickle::load(bytes, at)?;
        at = end;
        Ok(pickle)
    };
    let _magic = next()?;
    let protocol = next()?;
    ensure!(protocol.objects[protocol.root] == Object::Int(1001), "an unknown protocol version");
    let system = next()?;
    check_endian(&system)?;
    let object = next()?;
    let keys = next()?;

    let widths = storage_widths(&object);
    let Object::List(ids) = &keys.objects[keys.root] else { bail!("no list of storages") };
    let mut storages: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    for id in ids {
        let Object::Text(key) = &keys.objects[*id] else { bail!("a storage key that is no text") };
        let width = widths.get(key.as_str()).with_context(|| format!("storage {key} is unused"))?;
        let count = bytes.get(at..).and_then(|r| r.first_chunk::<8>());
        let count = count.map(|b| u64::from_le_bytes(*b)).context("the file ends early")?;
        let start = at + 8;
        let end = usize::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(*width))
            .and_then(|n| n.checked_add(start))
            .filter(|e| *e <= bytes.len())
            .with_context(|| format!("storage {key} of {count} values reaches beyond the file"))?;
        storages.insert(key, start..end);
        at = end;
    }
    object.found_with(bytes.len(), part, &|view| {
        let range = storages.get(view.key.as_str()).context("a storage that is not there")?;
        tensor(view, &bytes[range.clone()], bytes.len())
    })
}

fn check_endian(system: &Pickle) -> Result<()> {
    let Object::Dict(entries) = &system.objects[system.root] else { return Ok(()) };
    for (key, value) in entries {
        if system.objects[*key] == Object::Text("little_endian".to_owned()) {
            ensure!(
                system.objects[*value] == Object::Bool(true),
                "written on a big-endian machine"
            );
        }
    }
    Ok(())
}

/// Bytes per value of every storage a pickle refers to.
fn storage_widths<'a>(pickle: &'a Pickle) -> BTreeMap<&'a str, usize> {
    let views = pickle.objects.iter().filter_map(|o| match o {
        Object::Made(Made::TensorRef(v)) => Some(v),
        _ => None,
    });
    views.map(|v| (v.key.as_str(), v.storage.0.width())).collect()
}

/// `data.pkl` and, in the same folder, `data/KEY` for each storage.
pub(super) fn zip(
    archive: &mut Archive,
    pickle: &str,
    file: usize,
    part: Option<&str>,
) -> Result<Found> {
    let folder = pickle.trim_end_matches("data.pkl").to_owned();
    if let Ok(order) = archive.entry(&format!("{folder}byteorder")) {
        ensure!(order == b"little", "written on a big-endian machine");
    }
    let code = archive.entry(pickle)?;
    let (object, _) = Pickle::load(&code, 0).with_context(|| pickle.to_owned())?;
    // Read each storage once; they are stored without compression.
    let storages: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    let archive = RefCell::new(archive);
    object.found_with(file, part, &|view| {
        let mut storages = storages.borrow_mut();
        if !storages.contains_key(&view.key) {
            let entry = format!("{folder}data/{}", view.key);
            let bytes = archive.borrow_mut().entry(&entry)?;
            ensure!(
                bytes.len() / view.storage.0.width() >= view.length,
                "storage {} is shorter than its {} values",
                view.key,
                view.length
            );
            storages.insert(view.key.clone(), bytes);
        }
        tensor(view, &storages[&view.key], file)
    })
}

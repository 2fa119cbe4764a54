//! Which files of a folder are pictures, what is passed over and why, and what the names say.

use anyhow::{Context, Result, bail};
use image::ImageFormat;
use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Ends of the names of pictures that are read.
const PICTURES: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

/// Ends of the names of pictures that are not, and what they are.
const FOREIGN: [(&str, &str); 7] = [
    ("heic", "HEIC"),
    ("heif", "HEIC"),
    ("avif", "AVIF"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
    ("jxl", "JPEG XL"),
    ("jp2", "JPEG 2000"),
];

/// Why folders are passed over.
const FOLDERS: &str = "folders";

/// Most names told of a kind that is passed over.
const TOLD: usize = 3;

/// What a folder holds.
#[derive(Debug)]
pub struct Listing {
    /// Pictures by name or, where the name does not tell, by content; in the order of the names. Whether one
    /// can be read shows itself in [`prepare`](crate::prepare).
    pub pictures: Vec<PathBuf>,
    /// Reason → what is passed over for it, in the order of the names.
    pub passed_over: BTreeMap<String, Vec<PathBuf>>,
}

impl Listing {
    /// Looks into a folder, not into its subfolders. Names that begin with a dot are hidden, and no part of it.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn of(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read the picture folder {}", folder.display()))?;
        let mut found = Self { pictures: Vec::new(), passed_over: BTreeMap::new() };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match reason_against(&entry) {
                None => found.pictures.push(entry.path()),
                Some(reason) => found.passed_over.entry(reason).or_default().push(entry.path()),
            }
        }
        found.pictures.sort();
        found.passed_over.values_mut().for_each(|paths| paths.sort());
        Ok(found)
    }

    /// Looks into a folder and, other than [`Listing::of`], into all folders below it, links to folders included.
    ///
    /// # Errors
    /// A folder that cannot be read, or one that a link below it leads back to.
    pub fn below(folder: &Path) -> Result<Self> {
        let mut all = Self { pictures: Vec::new(), passed_over: BTreeMap::new() };
        all.descend(folder, &mut Vec::new())?;
        all.pictures.sort();
        all.passed_over.values_mut().for_each(|paths| paths.sort());
        Ok(all)
    }

    /// Adds what is in `folder`, which lies in the folders `above`, and below it.
    fn descend(&mut self, folder: &Path, above: &mut Vec<PathBuf>) -> Result<()> {
        let real = folder
            .canonicalize()
            .with_context(|| format!("cannot read the picture folder {}", folder.display()))?;
        if above.contains(&real) {
            bail!("{}: this link leads back to the folder it lies in", folder.display());
        }
        let mut here = Self::of(folder)?;
        above.push(real);
        for folder in here.passed_over.remove(FOLDERS).unwrap_or_default() {
            self.descend(&folder, above)?;
        }
        above.pop();
        self.pictures.append(&mut here.pictures);
        for (reason, mut paths) in here.passed_over {
            self.passed_over.entry(reason).or_default().append(&mut paths);
        }
        Ok(())
    }

    /// The folders in it, by name, of which [`Listing::of`] shows nothing.
    pub fn folders(&self) -> &[PathBuf] {
        self.passed_over.get(FOLDERS).map_or(&[], Vec::as_slice)
    }

    /// How much is passed over, what and why, in a line; nothing where nothing is.
    pub fn told(&self) -> Option<String> {
        let passed: usize = self.passed_over.values().map(Vec::len).sum();
        let kinds: Vec<String> = self.passed_over.iter().map(kind).collect();
        let all = passed + self.pictures.len();
        (passed > 0).then(|| format!("{passed} of {all} passed over: {}", kinds.join("; ")))
    }
}

/// Such as `folders: 12 (apple, bread, cheese, …)`.
fn kind((reason, paths): (&String, &Vec<PathBuf>)) -> String {
    let name = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.escape_debug().to_string()
    };
    let mut names: Vec<String> = paths.iter().take(TOLD).map(name).collect();
    if paths.len() > TOLD {
        names.push("…".to_owned());
    }
    format!("{reason}: {} ({})", paths.len(), names.join(", "))
}

/// Every picture of a folder, as [`Listing::of`] finds them; `say` is told what is passed over.
///
/// # Errors
/// A folder that cannot be read or holds no picture.
pub fn list(folder: &Path, say: impl FnOnce(&str)) -> Result<Vec<PathBuf>> {
    let found = Listing::of(folder)?;
    let told = found.told();
    if found.pictures.is_empty() {
        let [most @ .., last] = PICTURES.map(|end| format!(".{end}"));
        let told = told.map_or_else(String::new, |told| format!("; {told}"));
        bail!("{}: no {} or {last} files in it{told}", folder.display(), most.join(", "));
    }
    if let Some(told) = told {
        say(&format!("{}: {told}", folder.display()));
    }
    Ok(found.pictures)
}

/// Why an entry of a folder is no picture, if so.
fn reason_against(entry: &DirEntry) -> Option<String> {
    let path = entry.path();
    let end = path.extension().unwrap_or_default().to_ascii_lowercase();
    let is_called_one = PICTURES.iter().any(|p| end == *p);
    let unread = |name: &str| Some(format!("{name}, which is not read (save it as JPEG or PNG)"));
    // What the entry leads to, as opening it does.
    match path.metadata() {
        Ok(about) if about.is_dir() => return Some(FOLDERS.to_owned()),
        // Whoever calls it a picture is told what is wrong with it.
        _ if is_called_one => return None,
        Err(_) => return Some("what cannot be read".to_owned()),
        Ok(about) if !about.is_file() => return Some("devices, pipes and sockets".to_owned()),
        Ok(_) => {}
    }
    if let Some((_, name)) = FOREIGN.iter().find(|(e, _)| end == *e) {
        return unread(name);
    }
    let mut head = Vec::new();
    if File::open(&path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).is_err() {
        return Some("what cannot be read".to_owned());
    }
    match (format_of(&head), foreign_format_of(&head)) {
        (Some(_), _) => None,
        (None, Some(name)) => unread(name),
        (None, None) => Some("no pictures by name or content".to_owned()),
    }
}

/// Bytes of a file that tell its format.
const HEAD: u64 = 32;

/// The format of a picture that is read, by the first bytes of its file.
pub(crate) fn format_of(head: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    // `BM` begins many a text, too: the size of the second header is one of those that there are.
    let is_bmp = || matches!(head.get(14..18), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]));
    match image::guess_format(head).ok()? {
        format @ (Jpeg | Png | WebP | Gif) => Some(format),
        Bmp if is_bmp() => Some(Bmp),
        _ => None,
    }
}

/// Media type of a picture, by the first bytes of its file.
pub fn media_type_of(head: &[u8]) -> &'static str {
    format_of(head).map_or("application/octet-stream", |format| format.to_mime_type())
}

/// The name of a format that is not read, by the first bytes of a file.
pub(crate) fn foreign_format_of(head: &[u8]) -> Option<&'static str> {
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => Some("AVIF"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..]
            if [&b"hei"[..], b"hev", b"mif1", b"msf1"].iter().any(|b| brand.starts_with(b)) =>
        {
            Some("HEIC")
        }
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Some("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => Some("JPEG 2000"),
        _ => None,
    }
}

/// The class in a file name `[class]_[anything]`, where `[class]` is a whole number.
///
/// Only the name is looked at: digits in the folders never matter.
pub fn class_of(path: &Path) -> Option<usize> {
    let (class, _) = path.file_stem()?.to_str()?.split_once('_')?;
    if class.is_empty() || !class.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    class.parse().ok()
}

/// The id of a picture in a prediction file: its name without extension and leading zeros.
pub fn id_of(name: &str) -> String {
    let stem = Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or(name);
    if !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit()) {
        let short = stem.trim_start_matches('0');
        return if short.is_empty() { "0".to_owned() } else { short.to_owned() };
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_comes_from_the_name_alone() {
        let class = |p: &str| class_of(Path::new(p));
        assert_eq!(class("/data/food-11/training/3_17.jpg"), Some(3));
        assert_eq!(class("10_0.png"), Some(10));
        assert_eq!(class("/7_dishes/0001.jpg"), None);
        assert_eq!(class("cat_1.jpg"), None);
        assert_eq!(class("_1.jpg"), None);
        assert_eq!(class("99999999999999999999999_1.jpg"), None);
    }

    #[test]
    fn ids_have_no_leading_zeros() {
        let ids: Vec<String> = ["0000.jpg", "0042.jpg", "3346.jpg", "a01.png"].map(id_of).into();
        assert_eq!(ids, ["0", "42", "3346", "a01"]);
    }
}

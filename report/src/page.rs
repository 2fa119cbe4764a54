//! `report page`: a model as one web page.

use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Calibration, Model, artifact};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::catalogue::folder_of;
use common::cli::{self, count};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Make a web page that has the model inside and classifies pictures, without a network.
///
/// A picture can be dropped, pasted, chosen or taken with the camera. The engine is that of these programs,
/// compiled to WebAssembly by make page; pictures are prepared as everywhere else, so the page answers what
/// infer predict answers, with the same probabilities, and "none of these" where the model was calibrated
/// (quantize pack --calibrate). The page is one file and opens from a disk, too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  make page                                       # compiles the engine, then the page of OUT/model.bin
  report page --model model.bin --out page.html
  report page --model model.bin --examples food-11/validation --out page.html
  report page --model model.bin --examples photos --catalogue catalogue.csv --split validation --out page.html")]
pub(crate) struct Page {
    /// Model to put in, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The engine as WebAssembly.
    #[arg(long, value_name = "FILE", default_value = "target/page.wasm")]
    wasm: PathBuf,
    /// Folder of pictures [class]_[anything].jpg or .png, or with --catalogue whatever it was made of: the first of
    /// each class of at most 20,000 bytes becomes an example, or where there is none the first, made smaller.
    #[arg(long, value_name = "FOLDER")]
    examples: Option<PathBuf>,
    #[command(flatten)]
    listed: cli::Listed,
    /// Headline of the page.
    #[arg(long, default_value = "What is in the picture?")]
    title: String,
    /// Where to write the page.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Most bytes of an example, a photo of some 128 px: each makes the page larger.
const LARGEST_EXAMPLE: u64 = 20_000;

/// Most pixels of a side of an example that is made smaller: some 15 kB.
const EXAMPLE_SIDE: u32 = 256;

impl Page {
    /// The pictures that examples are taken of, with their classes.
    fn labelled(&self, folder: &Path) -> Result<Vec<(PathBuf, usize)>> {
        let Some((catalogue, _, split)) = self.listed.load()? else {
            let labelled = |path: PathBuf| photos::class_of(&path).map(|class| (path, class));
            return Ok(photos::list(folder, cli::note)?.into_iter().filter_map(labelled).collect());
        };
        let folder = folder_of(folder);
        let of = catalogue.of(split);
        Ok(of.filter_map(|e| e.label.map(|class| (folder.join(&e.file), class))).collect())
    }

    pub(crate) fn run(self) -> Result<String> {
        let inputs = [Some(self.model.as_path()), Some(&self.wasm), self.listed.catalogue()];
        let inputs: Vec<&Path> = inputs.into_iter().flatten().collect();
        let _claim = artifact::claim(&self.out, &inputs)?;
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let model = read(&self.model)?;
        let artifact = Artifact::parse(&self.model.display().to_string(), model.clone())?;
        // The script reads the two numbers it needs; of a file that was not calibrated there are none.
        let calibration = Calibration::of(&artifact)?;
        let calibration =
            calibration.map_or_else(|| Ok("{}".to_owned()), |c| serde_json::to_string(&c))?;
        let (parsed, _) = Model::of(artifact)?;
        ensure!(
            self.wasm.exists(),
            "{}: no engine for web pages: run make page (it needs rustup target add \
             wasm32-unknown-unknown), or name one with --wasm",
            self.wasm.display()
        );
        let wasm = read(&self.wasm)?;
        let is_wasm = wasm.starts_with(b"\0asm");
        ensure!(is_wasm, "{}: not WebAssembly: run make page again", self.wasm.display());
        let engine = zipped(&wasm)?;
        let examples = match &self.examples {
            Some(folder) => examples(&self.labelled(folder)?, &parsed.classes)?,
            None => String::new(),
        };
        let (model_bytes, engine_bytes) = (model.len().to_string(), engine.len().to_string());
        let parts = BTreeMap::from([
            ("title", escaped(&self.title)),
            ("style", include_str!("../page/page.css").to_owned()),
            ("calibration", calibration),
            ("script", shortened(include_str!("../page/page.js"))),
            ("examples", examples),
            ("model_bytes", model_bytes),
            ("model", text_of(&model)),
            ("engine_bytes", engine_bytes),
            ("engine", text_of(&engine)),
        ]);
        let page = utf16(&filled(include_str!("../page/page.html"), &parts));
        artifact::save_bytes(&self.out, &page)?;
        Ok(format!(
            "{}: {} bytes, of which the model {}, the engine {} ({} unpacked)",
            self.out.display(),
            count(page.len()),
            count(model.len()),
            count(engine.len()),
            count(wasm.len()),
        ))
    }
}

/// gzip, which browsers unpack by themselves.
fn zipped(bytes: &[u8]) -> Result<Vec<u8>> {
    let bar = cli::progress(1, "packing");
    let mut out = Vec::new();
    let options = zopfli::Options::default();
    zopfli::compress(options, zopfli::Format::Gzip, bytes, &mut out)?;
    bar.finish_and_clear();
    Ok(out)
}

/// `bytes` as text, 15 bits a character: in UTF-16 that is one part in fifteen more than the bytes, where
/// base64 in UTF-8 is one in three. U+3400 to U+B3FF are letters all, none of which HTML reads as its own.
fn text_of(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 3);
    let (mut bits, mut held) = (0u32, 0);
    let mut push = |value: u32| out.extend(char::from_u32(0x3400 + value));
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        if held >= 15 {
            held -= 15;
            push(bits >> held);
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        push(bits << (15 - held));
    }
    out
}

/// UTF-16, little end first. Its mark at the front tells browsers so, before any server's word.
fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// `script` without comments and indentation, each character of which is two bytes of the page. No literal of it
/// goes over lines.
fn shortened(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// `template` with every `{{name}}` replaced.
fn filled(template: &str, parts: &BTreeMap<&str, String>) -> String {
    let mut pieces = template.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        out += parts.get(name).map_or("", String::as_str);
        out += rest;
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// An example of each class, as an element of the page: the first picture that is small enough, else the first that
/// can be read, made smaller.
fn examples(pictures: &[(PathBuf, usize)], classes: &[String]) -> Result<String> {
    let (mut small, mut large) = (BTreeMap::new(), BTreeMap::new());
    for (path, class) in pictures.iter().filter(|(_, class)| *class < classes.len()) {
        let wrong = || format!("cannot read {}", path.display());
        if small.contains_key(class) {
            continue;
        }
        if path.metadata().with_context(wrong)?.len() <= LARGEST_EXAMPLE {
            small.insert(*class, std::fs::read(path).with_context(wrong)?);
        } else if !large.contains_key(class) {
            let bytes = std::fs::read(path).with_context(wrong)?;
            if let Ok(shrunk) = photos::thumbnail(&bytes, EXAMPLE_SIDE, photos::MAX_PIXELS) {
                large.insert(*class, shrunk);
            }
        }
    }
    let found = large.into_iter().chain(small).collect::<BTreeMap<_, _>>();
    if found.len() < classes.len() {
        cli::note(&format!("{} examples for {} classes", found.len(), classes.len()));
    }
    let example = |(class, bytes): (usize, Vec<u8>)| {
        let kind = photos::listing::media_type_of(&bytes);
        let (data, name) = (BASE64_STANDARD.encode(&bytes), escaped(&classes[class]));
        format!("\n  <img src=\"data:{kind};base64,{data}\" alt=\"{name}\" tabindex=\"0\">")
    };
    Ok(found.into_iter().map(example).collect::<String>() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 15 ones and a one, then zeros; and nothing.
    #[test]
    fn fifteen_bits_a_character() {
        assert_eq!(text_of(&[0xff, 0xff]), "\u{b3ff}\u{7400}");
        assert_eq!(text_of(&[]), "");
        assert_eq!(text_of(&[0; 15]).chars().count(), 8);
        assert_eq!(utf16("a"), [0xff, 0xfe, 0x61, 0]);
    }

    #[test]
    fn templates_are_filled() {
        let parts = BTreeMap::from([("a", "1 < 2".to_owned())]);
        assert_eq!(filled("x {{a}} y {{b}}{{a}}", &parts), "x 1 < 2 y 1 < 2");
        assert_eq!(shortened("a;\n\n  // why\n  b(`//`); // c\n"), "a;\nb(`//`); // c\n");
        assert_eq!(escaped("\"<&"), "&quot;&lt;&amp;");
    }
}

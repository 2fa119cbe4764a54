//! What of a folder is a picture, and what is said of the rest.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::{Framing, Preparation};
use photos::MAX_PIXELS;
use photos::listing::{Listing, media_type_of};
use std::fs;
use std::path::Path;

const HOW: Preparation = Preparation { size: 16, framing: Framing::Crop, exif: false };

fn picture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)).unwrap()
}

/// Twenty names, as cameras, browsers, chats and macOS leave them.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let save = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let jpeg = picture("rgb.jpg");
    for name in ["0_1.jpg", "0_2.JPEG", "0_3.jpe", "1_4.JFIF", "1_5", "1_6.photo"] {
        save(name, &jpeg);
    }
    save("2_7.webp", &picture("rgb.webp"));
    save("2_8.bmp", &picture("rgb.bmp"));
    save("2_9.gif", &picture("moving.gif"));
    save("2_10.png", &picture("rgb.png"));
    save("2_11", &picture("rgb.webp"));
    for name in ["._0_1.jpg", ".DS_Store", ".hidden.png"] {
        save(name, b"Mac OS X");
    }
    save("3_1.heic", b"\0\0\0\x18ftypheic");
    save("3_2.bin", b"\0\0\0\x1cftypavif");
    save("labels.csv", b"BM is how this text begins, which is no bitmap");
    save("empty", b"");
    fs::create_dir(dir.path().join("cats")).unwrap();
    fs::create_dir(dir.path().join("dogs.jpg")).unwrap();
    dir
}

#[test]
fn pictures_are_known_by_name_or_content() {
    let dir = folder();
    let mut told = Vec::new();
    let found = photos::list(dir.path(), |line| told.push(line.to_owned())).unwrap();
    let names: Vec<_> = found.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    let expected = [
        "0_1.jpg",
        "0_2.JPEG",
        "0_3.jpe",
        "1_4.JFIF",
        "1_5",
        "1_6.photo",
        "2_10.png",
        "2_11",
        "2_7.webp",
        "2_8.bmp",
        "2_9.gif",
    ];
    assert_eq!(names, expected);
    for path in &found {
        let pixels = photos::prepare(path, &HOW, MAX_PIXELS);
        assert_eq!(pixels.map(|p| p.len()).ok(), Some(3 * 16 * 16), "{}", path.display());
    }
    let told = told.join("\n");
    let (folder, told) = told.split_once(": ").unwrap();
    assert_eq!(Path::new(folder), dir.path());
    assert_eq!(
        told,
        "6 of 17 passed over: AVIF, which is not read (save it as JPEG or PNG): 1 (3_2.bin); HEIC, which is \
         not read (save it as JPEG or PNG): 1 (3_1.heic); folders: 2 (cats, dogs.jpg); no pictures by name or \
         content: 2 (empty, labels.csv)"
    );
}

/// Nothing is said where nothing is passed over; no more than three names of a kind.
#[test]
fn what_is_said_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let reason = photos::list(dir.path(), |_| panic!("said of nothing")).unwrap_err().to_string();
    assert!(
        reason.ends_with("no .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp or .gif files in it"),
        "{reason}"
    );
    for class in ["apple", "bread", "cheese", "dates", "eggs"] {
        fs::create_dir(dir.path().join(class)).unwrap();
    }
    let reason = photos::list(dir.path(), |_| ()).unwrap_err().to_string();
    assert!(
        reason.ends_with("; 5 of 5 passed over: folders: 5 (apple, bread, cheese, …)"),
        "{reason}"
    );
    let one = tempfile::tempdir().unwrap();
    fs::write(one.path().join("a.jpg"), b"").unwrap();
    fs::write(one.path().join(".b"), b"").unwrap();
    let found = photos::list(one.path(), |line| panic!("{line}")).unwrap();
    assert_eq!(found.len(), 1);
}

/// The reason of a file that is called a JPEG and is something else names what it is.
#[test]
fn foreign_formats_are_named() {
    for (bytes, name) in [
        (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
        (b"\0\0\0\x20ftypmif1", "HEIC"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"II*\0....", "TIFF"),
        (b"\xff\x0a....", "JPEG XL"),
    ] {
        let reason = photos::prepare_bytes(bytes, &HOW, MAX_PIXELS).unwrap_err().to_string();
        assert_eq!(reason, format!("{name}, which is not read: save it as JPEG or PNG"));
    }
    let reason = photos::prepare_bytes(b"<html>", &HOW, MAX_PIXELS).unwrap_err().to_string();
    assert_eq!(reason, "not a picture that is read: neither JPEG, PNG, WebP, BMP nor GIF");
}

#[test]
fn media_types() {
    let of = |name: &str| media_type_of(&picture(name));
    assert_eq!(of("rgb.jpg"), "image/jpeg");
    assert_eq!(of("rgb.png"), "image/png");
    assert_eq!(of("rgb.webp"), "image/webp");
    assert_eq!(of("rgb.bmp"), "image/bmp");
    assert_eq!(of("moving.gif"), "image/gif");
}

/// Below a folder there is everything that is in its folders, links to folders included, hidden ones not.
#[test]
fn folders_below_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("b/deep/deeper")).unwrap();
    fs::create_dir(at(".hidden")).unwrap();
    for name in ["z.jpg", "b/1.jpg", "b/deep/deeper/2.jpg", ".hidden/3.jpg", "b/notes.txt"] {
        fs::write(at(name), b"").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(at("b/deep"), at("a")).unwrap();
    let found = Listing::below(dir.path()).unwrap();
    let names = |paths: &[std::path::PathBuf]| {
        let inside =
            |p: &std::path::PathBuf| p.strip_prefix(dir.path()).unwrap().display().to_string();
        paths.iter().map(inside).collect::<Vec<_>>().join(" ")
    };
    let linked = if cfg!(unix) { "a/deeper/2.jpg " } else { "" };
    assert_eq!(names(&found.pictures), format!("{linked}b/1.jpg b/deep/deeper/2.jpg z.jpg"));
    assert_eq!(names(&found.passed_over["no pictures by name or content"]), "b/notes.txt");
    assert!(found.folders().is_empty());
    let here = Listing::of(dir.path()).unwrap();
    assert_eq!(names(here.folders()), if cfg!(unix) { "a b" } else { "b" });
}

#[cfg(unix)]
#[test]
fn a_link_to_its_own_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("cats")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("cats/all")).unwrap();
    let error = Listing::below(dir.path()).unwrap_err().to_string();
    assert!(error.contains("leads back to the folder it lies in"), "{error}");
}

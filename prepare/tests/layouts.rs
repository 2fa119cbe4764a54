//! Every way to lay out pictures, and what is said of those that are none.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use prepare::layout::{self, Layout};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder of these files, empty ones: layouts are about names. `name=text` has a text in it.
fn folder(files: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix("7_photos test ").tempdir().unwrap();
    for file in files.split_whitespace() {
        let (name, text) = file.split_once('=').unwrap_or((file, ""));
        let path = dir.path().join(name.replace('+', " "));
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('|', "\n")).unwrap();
    }
    dir
}

/// Pictures as `file:label:split`, of what a folder shows.
fn told(layout: &Layout) -> String {
    let one = |s: &layout::Shown| {
        let split = s.split.map_or("-", common::catalogue::Split::name);
        format!("{}:{}:{split}", s.file, s.label.as_deref().unwrap_or("-"))
    };
    layout.pictures.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn find(files: &str) -> String {
    told(&layout::find(folder(files).path(), None).unwrap())
}

fn refusal(files: &str) -> String {
    let dir = folder(files);
    let found = layout::find(dir.path(), None);
    let error = found.and_then(|layout| layout.check_classes().map(|()| told(&layout)));
    format!("{:#}", error.unwrap_err()).replace(dir.path().to_str().unwrap(), "DATA")
}

#[test]
fn folders_of_classes() {
    assert_eq!(
        find("hot+dog/1.jpg hot+dog/old/2019/2.png hot+dog/.thumb.jpg apple/0_1.jpg notes.txt"),
        "apple/0_1.jpg:apple:- hot dog/1.jpg:hot dog:- hot dog/old/2019/2.png:hot dog:-"
    );
}

#[test]
fn folders_of_splits() {
    assert_eq!(
        find("Train/a/1.jpg Train/b/1.jpg VAL/a/2.jpg test/a/3.jpg"),
        "Train/a/1.jpg:a:training Train/b/1.jpg:b:training VAL/a/2.jpg:a:validation test/a/3.jpg:a:testing"
    );
    assert_eq!(
        find("training/0_1.jpg training/10_1.jpg dev/0_2.jpg testing/0000.jpg"),
        "dev/0_2.jpg:0:validation testing/0000.jpg:-:testing training/0_1.jpg:0:training \
         training/10_1.jpg:10:training"
    );
    // To be asked about, whatever their names.
    assert_eq!(
        find("train/a/1.jpg train/b/1.jpg test/0_1.jpg test/20240131_120000.jpg"),
        "test/0_1.jpg:-:testing test/20240131_120000.jpg:-:testing train/a/1.jpg:a:training \
         train/b/1.jpg:b:training"
    );
    assert_eq!(
        find("train/0_1.jpg train/1_1.jpg test/1_1.jpg"),
        "test/1_1.jpg:1:testing train/0_1.jpg:0:training train/1_1.jpg:1:training"
    );
}

#[test]
fn one_folder() {
    assert_eq!(find("03_1.jpg 3_2.jpg 10_a_b.png"), "03_1.jpg:3:- 10_a_b.png:10:- 3_2.jpg:3:-");
    assert_eq!(find("b.jpg a.jpg 20240131_1.jpg"), "20240131_1.jpg:-:- a.jpg:-:- b.jpg:-:-");
    // An empty folder beside pictures is passed over.
    assert_eq!(find("0_1.jpg 1_1.jpg thumbs/"), "0_1.jpg:0:- 1_1.jpg:1:-");
}

#[test]
fn tables() {
    let pictures = "p/1.jpg p/2.jpg q.jpg other.jpg";
    assert_eq!(
        find(&format!("list.csv=file,label|p/1.jpg,cat|./p/2.jpg,dog|q.jpg,cat| {pictures}")),
        "p/1.jpg:cat:- p/2.jpg:dog:- q.jpg:cat:-"
    );
    assert_eq!(
        find(&format!(
            "list.CSV=\u{feff}Category,Image,Split|cat,p/1.jpg,Train|dog,p/2.jpg,VALID|,q.jpg,test| {pictures} \
             others.csv=name,score|x,1| finds.csv=kind,file,label|leak,q.jpg,x| prediction.csv=Id,label|q,1|"
        )),
        "p/1.jpg:cat:training p/2.jpg:dog:validation q.jpg:-:testing"
    );
    // Named itself, one of two; paths begin where it lies.
    let dir = folder(&format!("a.csv=file,label|q.jpg,x| p/b.csv=path,class|1.jpg,y| {pictures}"));
    let layout = layout::find(&dir.path().join("p/b.csv"), None).unwrap();
    assert_eq!((told(&layout), layout.folder), ("1.jpg:y:-".to_owned(), dir.path().join("p")));
    assert_eq!(layout.notes.len(), 2, "one of p is not in it: {:?}", layout.notes);
    // Predictions are a table only where they are named.
    let dir = folder("q.jpg other.jpg prediction.csv=Id,label|q.jpg,x|other.jpg,y|");
    let named = layout::find(&dir.path().join("prediction.csv"), None).unwrap();
    assert_eq!(told(&named), "other.jpg:y:- q.jpg:x:-");
    assert_eq!(
        find("0_q.jpg 1_other.jpg prediction.csv=Id,label|0_q,1|"),
        "0_q.jpg:0:- 1_other.jpg:1:-"
    );
    // An output in its own folder is no table of it.
    let dir = folder("cat/1.jpg dog/1.jpg out.csv=file,label|cat/1.jpg,x|");
    let found = layout::find(dir.path(), Some(&dir.path().join("out.csv"))).unwrap();
    assert_eq!(told(&found), "cat/1.jpg:cat:- dog/1.jpg:dog:-");
    assert_eq!(found.notes, Vec::<String>::new());
}

#[test]
fn what_is_passed_over_is_told_once() {
    let dir = folder("a/1.jpg a/x.txt b/1.jpg b/deep/y.heic notes.txt");
    let notes = layout::find(dir.path(), None).unwrap().notes;
    assert_eq!(
        notes,
        [format!(
            "{}: 3 of 5 passed over: HEIC, which is not read (save it as JPEG or PNG): 1 (y.heic); no pictures by \
             name or content: 2 (x.txt, notes.txt)",
            dir.path().display()
        )]
    );
}

#[test]
fn half_a_layout_is_none() {
    for (files, text) in [
        (
            "a/1.jpg b/1.jpg c.jpg",
            "DATA: 1 picture (c.jpg) beside folders of pictures (a, b): put each",
        ),
        ("a/1.jpg b/", "DATA/b: the folder of this class holds no picture: fill or remove it"),
        (
            "a/1.jpg b/1.txt",
            "DATA/b: the folder of this class holds no picture (1 of 1 passed over",
        ),
        (
            "a/1.jpg a/2.jpg a/3.jpg",
            "DATA: all pictures are of one class, a: two at least are needed",
        ),
        (
            "photos/a/1.jpg photos/b/1.jpg",
            "one class, photos: is it DATA/photos that holds the folders",
        ),
        (
            "a/1.jpg a/2.jpg a/3.jpg b/1.jpg b/2.jpg",
            "class b has 2 pictures to be divided, 3 at least",
        ),
        ("1.jpg 2.jpg", "class without a label has 2 pictures to be divided, 3 at least"),
        (
            "train/a/1.jpg train/a/2.jpg train/b/1.jpg",
            "class b has 1 picture to be divided, 2 at least",
        ),
        ("train/a/1.jpg train/b/1.jpg val/c/1.jpg", "class c has pictures, but none in training"),
        ("train/a/1.jpg training/b/1.jpg", "DATA: train and training are both called training"),
        ("val/a/1.jpg test/b/1.jpg", "splits (val, test), but none called training or train"),
        ("train/a/1.jpg 0_1.jpg", "DATA: 1 picture (0_1.jpg) beside the folders of splits (train)"),
        ("train/a/1.jpg more/1.jpg", "DATA: more holds 1 picture and is no split"),
        (
            "train/a/1.jpg train/b/1.jpg val/0_1.jpg",
            "val has no folders of classes, training has some",
        ),
        (
            "train/0_1.jpg train/1_1.jpg val/a/1.jpg",
            "val has folders of classes, training has none",
        ),
        ("train/0_1.jpg train/1_1.jpg val/1.jpg", "of training and validation, one has classes"),
        (
            "train/0.jpg train/1.jpg test/0_1.jpg",
            "testing has classes in its names, training has none",
        ),
        ("0_1.jpg 1_1.jpg x.jpg", "DATA: 1 of 3 pictures have no class in their names (x.jpg)"),
        ("train/a/1.jpg train/b/1.jpg val/", "val: no .jpg, .jpeg"),
        ("notes.txt", "no .jpg, .jpeg"),
    ] {
        let refusal = refusal(files);
        assert!(refusal.contains(text), "{files}: {refusal}");
    }
}

#[test]
fn half_a_table_is_none() {
    for (rows, text) in [
        ("a.jpg,x|no.jpg,y|", "row 3: there is no file DATA/no.jpg"),
        ("a.jpg,x|../a.jpg,y|", "row 3: ../a.jpg: not a path below the folder"),
        ("/etc/a.jpg,x|", "row 2: /etc/a.jpg: not a path below the folder"),
        ("a.jpg,x|b.jpg,y|a.jpg,x|", "rows 2 and 4 are about one picture, a.jpg"),
        ("a.jpg,x|b.jpg,|", "1 picture without a label, such as b.jpg"),
        ("a.jpg,x,y|", "found record with 3 fields"),
        (",x|", "row 2: an empty file name"),
        ("", "no rows below the header"),
    ] {
        let refusal = refusal(&format!("t.csv=file,label|{rows} a.jpg b.jpg"));
        assert!(refusal.starts_with("DATA/t.csv") && refusal.contains(text), "{rows}: {refusal}");
    }
    for (rows, text) in [
        ("a.jpg,x,train|b.jpg,y,|", "1 of 2 pictures have no split, such as b.jpg"),
        ("a.jpg,x,val|b.jpg,y,test|", "it has splits, and no picture is in training"),
        ("a.jpg,x,train|b.jpg,y,third|", "row 3: split \"third\": expected training"),
        ("a.jpg,x,train|b.jpg,,val|", "1 picture without a label, such as b.jpg"),
    ] {
        let refusal = refusal(&format!("t.csv=file,label,split|{rows} a.jpg b.jpg"));
        assert!(refusal.contains(text), "{rows}: {refusal}");
    }
    let two = refusal("t.csv=file,label| u.csv=file,label| a.jpg");
    assert!(two.contains("DATA/t.csv and DATA/u.csv are both tables of pictures"), "{two}");
    let dir = folder("t.csv=name;label| photo.jpg");
    let error =
        |name: &str| format!("{:#}", layout::find(&dir.path().join(name), None).unwrap_err());
    assert!(error("t.csv").contains("its columns are name;label; needed are one for files (file,"));
    assert!(error("photo.jpg").contains("neither a folder of pictures nor a table"));
    assert!(layout::find(Path::new("/nowhere"), None).is_err());
}

#[test]
fn numbers_get_names() {
    let named = |names: &[&str]| {
        let mut layout = layout::find(folder("0_1.jpg 01_1.jpg 1_2.jpg").path(), None).unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        layout.name_classes(&names).map(|()| told(&layout)).map_err(|e| e.to_string())
    };
    assert_eq!(named(&["cat", "dog"]).unwrap(), "01_1.jpg:dog:- 0_1.jpg:cat:- 1_2.jpg:dog:-");
    let error = named(&["cat"]).unwrap_err();
    assert!(error.starts_with("a picture has class 1, but 1 class names were given"), "{error}");
    let error = named(&["cat", "dog", "cow"]).unwrap_err();
    assert_eq!(error, "--classes: no picture has class 2, cow");
    let mut layout = layout::find(folder("a/1.jpg b/1.jpg").path(), None).unwrap();
    let error = layout.name_classes(&["x".to_owned(), "y".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("class a: it has a name already"), "{error}");
}

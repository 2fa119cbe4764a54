//! `prepare check`, as a program.

#![allow(clippy::disallowed_methods)] // tests write files as they please

mod patches;

use patches::{near_copy, plain, png, save};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code and stdout.
fn check(args: &[&str], folder: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
    let output = command.arg("check").args(args).current_dir(folder).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Two classes, five pictures of each for training and one for validation, and one find of every kind.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5 {
        save(dir.path(), &format!("p/train/a/{i}.png"), &png(i));
        save(dir.path(), &format!("p/train/b/{i}.png"), &png(10 + i));
    }
    save(dir.path(), "p/val/a/new.png", &png(20));
    save(dir.path(), "p/val/a/leak.jpg", &near_copy(1));
    save(dir.path(), "p/train/b/conflict.png", &png(0));
    save(dir.path(), "p/train/b/copy & copy.png", &png(11));
    save(dir.path(), "p/train/b/narrow.png", &plain(170, 40));
    save(dir.path(), "p/train/b/small.png", &plain(20, 31));
    save(dir.path(), "p/train/b/torn.png", &png(30)[..100]);
    dir
}

#[test]
fn one_find_of_every_kind() {
    let dir = folder();
    let (code, told) = check(&["p", "--csv", "f.csv", "--html", "f.html"], dir.path());
    assert_eq!(code, 3, "{told}");
    let begin = "p: 16 pictures, 2 classes; 14 training, 2 validation, 0 testing\n\
                 sides: 20 to 170 px, in the median 60 and 80\n\
                 training: from 5 pictures (a) to 9 (b)\n\
                 validation: from 0 pictures (b) to 2 (a)\n  a: 5 + 2\n  b: 9 + 0\n\
                 copies in two splits (what is measured was learnt by heart): 1, 0 to the byte\n\
                 copies with two labels (one of them is wrong): 1, 1 to the byte\n\
                 classes without a picture in a split: 1\n\
                 files that cannot be read: 1\n\
                 copies within a split: 1, 1 to the byte\n\
                 pictures with a side below 32 px: 1\n\
                 pictures more than four times as long as wide: 1\n\
                 pictures of a single colour: 2\n\
                 leak: val/a/leak.jpg [a] = train/a/1.png [a] (near, ";
    assert!(told.starts_with(begin), "{told}");
    let table = fs::read_to_string(dir.path().join("f.csv")).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "kind,file,split,label,other,other_split,other_label,detail");
    assert!(
        rows[1].starts_with("leak,val/a/leak.jpg,validation,a,train/a/1.png,training,a,\"near, ")
    );
    assert!(rows[4].starts_with("unreadable,train/b/torn.png,training,b,,,,"), "{}", rows[4]);
    let others = [
        "conflict,train/b/conflict.png,training,b,train/a/0.png,training,a,the same bytes",
        "missing,,validation,b,,,,",
        "copy,train/b/copy & copy.png,training,b,train/b/1.png,training,b,the same bytes",
        "small,train/b/small.png,training,b,,,,20 x 31 px",
        "narrow,train/b/narrow.png,training,b,,,,170 x 40 px",
        "flat,train/b/narrow.png,training,b,,,,170 x 40 px",
        "flat,train/b/small.png,training,b,,,,20 x 31 px",
    ];
    assert_eq!([&rows[2..4], &rows[5..]].concat(), others);
    let page = fs::read_to_string(dir.path().join("f.html")).unwrap();
    // Two each of a leak, a conflict, a copy; one of a small, a narrow and two flat ones; none of the others.
    assert_eq!(page.matches("<img src=\"data:image/jpeg;base64,").count(), 10);
    assert!(page.contains("alt=\"train/b/copy &amp; copy.png\"") && !page.contains("http"));
}

/// Three pictures alike in three splits, seen by a catalogue's splits; no more than --limit are told.
#[test]
fn a_catalogue_says_what_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6 {
        save(dir.path(), &format!("p/a{i}.png"), &png(i));
    }
    for i in 1..3 {
        save(dir.path(), &format!("p/copy{i}.png"), &png(0));
    }
    let rows = "file,label,split,class\na0.png,x,training,0\na1.png,y,training,1\na2.png,x,validation,0\n\
                a3.png,y,validation,1\ncopy1.png,x,validation,0\ncopy2.png,,testing,\n";
    save(dir.path(), "c.csv", rows.as_bytes());
    let (code, told) = check(&["p", "--catalogue", "c.csv", "--limit", "1"], dir.path());
    assert_eq!(code, 3);
    let end = "(what is measured was learnt by heart): 2, 2 to the byte\n\
               leak: copy1.png [x] = a0.png [x] (the same bytes)\nleak: 1 more\n";
    assert!(told.ends_with(end), "{told}");
    // The folder alone has no splits and no labels: copies, which are no fault there.
    let (code, told) = check(&["p"], dir.path());
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("\ncopies within a split: 2, 2 to the byte\n"), "{told}");
}

#[test]
fn what_is_clean_is_said() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6 {
        save(dir.path(), &format!("p/{}/{i}.png", i % 2), &png(i));
    }
    let (code, told) = check(&["p", "--html", "f.html"], dir.path());
    assert_eq!(
        (code, told.as_str()),
        (
            0,
            "p: 6 pictures, 2 classes\nsides: 60 to 80 px, in the median 60 and 80\n\
             a class has: from 3 pictures (0) to 3 (1)\nnothing found\n"
        )
    );
    assert_eq!(check(&["nowhere"], dir.path()).0, 1);
}

//! Rows of evaluations: those from before there were views are read, too.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use common::score::Row;

#[test]
fn old_rows_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let old = "name,file,hash,parameters,bytes,pictures,correct,top1,low,high\n\
               a,a.bin,0123456789abcdef,5,100,10,9,0.9,0.5,0.95\n";
    std::fs::write(&path, old).unwrap();
    let mut row = Row::load(&path).unwrap().remove(0);
    assert_eq!((row.correct, row.plain_top1, row.views.as_str()), (9, None, ""));
    (row.plain_top1, row.views) = (Some(0.8), "flip,shift=2".to_owned());
    row.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with(",0.95,0.8,\"flip,shift=2\"\n"), "{text}");
    assert_eq!(Row::load(&path).unwrap(), [row]);
}

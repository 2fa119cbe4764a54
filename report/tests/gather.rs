//! `report gather` on a folder of evaluations: every CSV file, line by line. Counts are by hand; intervals and p are
//! SciPy 1.17.1's: `binomtest(right, 8).proportion_ci(0.95, method="wilson")`, `binomtest(0, n).pvalue` for n
//! pictures that one alone has right, `t.interval(0.95, 1, loc=mean, scale=sem)`. Those over seeds and pictures are those
//! of `interval` in tests/bootstrap.py, Holm's p are p times the number of pairs.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::answers::About;
use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Framing, Images, Model, Preparation, Provenance};
use std::fs;
use std::path::Path;
use std::process::Command;

const LABELS: [usize; 8] = [0, 0, 0, 0, 1, 1, 1, 1];

/// Eight pictures of two classes.
fn pictures(folder: &Path) -> Images {
    let path = folder.join("validation.safetensors");
    let unsaved = Unsaved {
        preparation: Preparation { size: 1, framing: Framing::Crop, exif: false },
        classes: vec!["ja".to_owned(), "nein".to_owned()],
        labels: LABELS.map(Some).to_vec(),
        names: (0..8).map(|i| i.to_string()).collect(),
        pixels: Data::Bytes(vec![7; 24]),
    };
    unsaved.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    Images::load(&path).unwrap()
}

/// Answers at `NAME`, each sure of its class to 3/4: right where `right` has a 1.
fn answers(folder: &Path, images: &Images, name: &str, right: [usize; 8], parameters: usize) {
    let path = folder.join(format!("{name}.answers.safetensors"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let about = About {
        name: name.to_owned(),
        classes: images.classes.clone(),
        model: "0".repeat(16),
        images: images.source.hash.clone(),
        parameters,
        bytes: 200,
        multiplications: 300,
        temperature: None,
        views: Default::default(),
    };
    let answer = |(label, right): (usize, usize)| if right == 1 { label } else { 1 - label };
    let of = |class: usize| if class == 0 { [3f32.ln(), 0.0] } else { [0.0, 3f32.ln()] };
    let logits = LABELS.into_iter().zip(right).map(answer).flat_map(of).collect();
    let provenance = Provenance::new("infer eval", &()).unwrap().from("images", &images.source);
    Answers::save(&path, &about, &provenance, images, logits).unwrap();
}

fn gather(folder: &Path, verb: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    let made = command.current_dir(folder).args([verb, ".", "--out", verb]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

/// Why `gather` ends.
fn refused(folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    let made = command.current_dir(folder).args(["gather", ".", "--out", "no"]).output().unwrap();
    assert!(!made.status.success(), "{made:?}");
    String::from_utf8(made.stderr).unwrap()
}

/// The lines of a CSV file against these, numbers to a millionth.
fn agrees(folder: &Path, name: &str, expected: &str) {
    let text = fs::read_to_string(folder.join(format!("gather/{name}.csv"))).unwrap();
    let same = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() < 1e-6,
        _ => a == b,
    };
    let lines: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(text.lines().count(), lines.len(), "{name}:\n{text}");
    for (found, expected) in text.lines().zip(lines) {
        let cells = |line: &'_ str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (cells(found), cells(expected));
        let is_same = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b));
        assert!(is_same, "{name}: {found}\n   not {expected}");
    }
}

/// A folder with evaluations of every kind, and with what `gather` writes of it.
fn gathered() -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    let images = pictures(folder);
    let (all, two, six) = ([1; 8], [1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 1, 1, 0]);
    for (name, right, parameters) in [
        ("teacher", all, 1000),
        ("student", two, 100),
        ("q2/from-a-1", all, 100),
        ("q2/from-a-2", all, 100),
        ("q2/scratch-1", two, 100),
        ("q2/scratch-2", six, 100),
        ("q3/0.05-1-1", all, 95),
        ("q3/0.05-1-2", all, 90),
        ("q3/0.1-1-1", all, 89),
        ("bits/rounded-4", two, 100),
        ("bits/trained-4", all, 100),
    ] {
        answers(folder, &images, &format!("eval/{name}"), right, parameters);
    }
    // What the test pictures say need not be what these do.
    answers(folder, &images, "test/teacher", six, 1000);
    answers(folder, &images, "test/student", two, 100);
    let epochs = "epoch,loss,validation_top1\n1,2.5,0.25\n2,1.5,0.75\n3,1,0.5\n";
    fs::write(folder.join("student.epochs.csv"), epochs).unwrap();
    let cost = "stage,seconds,pictures,peak_bytes,threads\ndistill,4.0,1000,3000000,2\n";
    fs::write(folder.join("student.cost.csv"), cost).unwrap();

    let told = gather(folder, "gather");
    assert!(told.contains("in 16 tables, of 11 evaluations; 10,000 resamples"), "{told}");
    made
}

#[test]
fn evaluations_and_their_means() {
    let folder = gathered();
    let folder = folder.path();
    agrees(
        folder,
        "trials",
        "question,way,seed,step,parameters,bytes,multiplications,pictures,correct,top1,wilson_low,wilson_high,calibration_error,nll,passes,inherited,test_top1
         bits,rounded,0,4,100,200,300,8,2,0.25,0.0714792,0.5907246,0.5,1.1116413,,,
         bits,trained,0,4,100,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         q2,from-a,1,0,100,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         q2,from-a,2,0,100,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         q2,scratch,1,0,100,200,300,8,2,0.25,0.0714792,0.5907246,0.5,1.1116413,,,
         q2,scratch,2,0,100,200,300,8,6,0.75,0.4092754,0.9285208,0,0.5623351,,,
         q3,0.05,1,1,95,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         q3,0.05,1,2,90,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         q3,0.1,1,1,89,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,
         stages,student,0,0,100,200,300,8,2,0.25,0.0714792,0.5907246,0.5,1.1116413,,,0.25
         stages,teacher,0,0,1000,200,300,8,8,1,0.6755924,1,0.25,0.2876821,,,0.75",
    );
    agrees(
        folder,
        "ways",
        "question,way,step,seeds,parameters,bytes,multiplications,top1,deviation,low,high,student_half,wilson_low,wilson_high,passes,inherited,test_top1,test_low,test_high
         bits,rounded,4,1,100,200,300,0.25,0,0,0.625,,0.0714792,0.5907246,,,,,
         bits,trained,4,1,100,200,300,1,0,1,1,,0.6755924,1,,,,,
         q2,from-a,0,2,100,200,300,1,0,1,1,0,0.6755924,1,,,,,
         q2,scratch,0,2,100,200,300,0.5,0.3535534,0,0.875,3.1765512,0.2152161,0.7847839,,,,,
         q3,0.05,1,1,95,200,300,1,0,1,1,,0.6755924,1,,,,,
         q3,0.05,2,1,90,200,300,1,0,1,1,,0.6755924,1,,,,,
         q3,0.1,1,1,89,200,300,1,0,1,1,,0.6755924,1,,,,,
         stages,student,0,1,100,200,300,0.25,0,0,0.625,,0.0714792,0.5907246,,,0.25,0,0.625
         stages,teacher,0,1,1000,200,300,1,0,1,1,,0.6755924,1,,,0.75,0.375,1",
    );
}

/// ln 3 is 3 / 4: fitting where 6 of 8 are right, too sure at any temperature up to 20 where 2 are, and all right ask for
/// none. Teacher (a) is always right, so that agreement is accuracy.
#[test]
fn what_may_explain_them() {
    let folder = gathered();
    let folder = folder.path();
    agrees(
        folder,
        "evidence",
        "question,way,step,agreement,calibration_error,temperature,multiplications_per_right
         bits,rounded,4,0.25,0.5,20,1200
         bits,trained,4,1,0.25,1,300
         q2,from-a,0,1,0.25,1,300
         q2,scratch,0,0.5,0.25,10.5,600
         q3,0.05,1,1,0.25,1,300
         q3,0.05,2,1,0.25,1,300
         q3,0.1,1,1,0.25,1,300
         stages,student,0,0.25,0.5,20,1200
         stages,teacher,0,1,0.25,1,300",
    );
    agrees(
        folder,
        "gains",
        "question,way,step,than,class,difference
         bits,rounded,4,student,ja,0\nbits,rounded,4,student,nein,0
         bits,trained,4,student,ja,0.75\nbits,trained,4,student,nein,0.75
         q2,from-a,0,scratch,ja,0.5\nq2,from-a,0,scratch,nein,0.5
         q3,0.05,1,student,ja,0.75\nq3,0.05,1,student,nein,0.75
         q3,0.05,2,student,ja,0.75\nq3,0.05,2,student,nein,0.75
         q3,0.1,1,student,ja,0.75\nq3,0.1,1,student,nein,0.75
         stages,student,0,teacher,ja,-0.75\nstages,student,0,teacher,nein,-0.75",
    );
}

/// Six alone is a difference at 5 %, two are none, and every seed must agree; of chains the cuts are compared that are
/// nearest in size.
#[test]
fn pairs_are_tested() {
    let folder = gathered();
    let folder = folder.path();
    agrees(
        folder,
        "pairs",
        "question,a,a_step,b,b_step,seeds,difference,low,high,only_a,only_b,p,holm,better,test_difference,test_low,test_high
         stages,teacher,0,student,0,1,-0.75,-1,-0.375,6,0,0.03125,0.03125,a,-0.5,-0.875,-0.125
         q2,from-a,0,scratch,0,2,-0.5,-1,-0.125,8,0,0.5,1,none,,,
         q3,0.05,2,0.1,1,1,0,0,0,0,0,1,1,none,,,
         bits,rounded,4,trained,4,1,0.75,0.375,1,0,6,0.03125,0.03125,b,,,
         q2,teacher,0,from-a,0,2,0,0,0,0,0,1,1,none,,,
         q2,teacher,0,scratch,0,2,-0.5,-1,-0.125,8,0,0.5,1,none,,,",
    );
}

#[test]
fn stages_of_the_pipeline() {
    let folder = gathered();
    let folder = folder.path();
    agrees(
        folder,
        "classes",
        "stage,class,name,pictures,correct,top1,lost,won,p
         teacher,0,ja,4,4,1,,,
         teacher,1,nein,4,4,1,,,
         student,0,ja,4,1,0.25,3,0,0.25
         student,1,nein,4,1,0.25,3,0,0.25",
    );
    agrees(
        folder,
        "confusion",
        "class,answered,pictures\nja,ja,1\nja,nein,3\nnein,ja,3\nnein,nein,1",
    );
    let bins = |stage: &str, accuracy: f64| -> String {
        let bin = |i: u8| match i {
            8 => format!("{stage},0.8,8,{accuracy},0.75\n"),
            _ => format!("{stage},{},0,0,0\n", f64::from(i) / 10.0),
        };
        (1..=10).map(bin).collect()
    };
    let bins = bins("teacher", 1.0) + &bins("student", 0.25);
    agrees(
        folder,
        "calibration",
        &("stage,up_to,pictures,accuracy,confidence\n".to_owned() + &bins),
    );
}

#[test]
fn what_lies_beside_the_models() {
    let folder = gathered();
    let folder = folder.path();
    agrees(
        folder,
        "curves",
        "model,epoch,loss,top1\nstudent,1,2.5,0.25\nstudent,2,1.5,0.75\nstudent,3,1,0.5",
    );
    agrees(folder, "choice", "model,epochs,chosen,best,last,gain\nstudent,3,2,0.75,0.5,0.25");
    agrees(
        folder,
        "cost",
        "file,stage,seconds,pictures,per_second,peak_bytes,threads
         student,distill,4,1000,250,3000000,2",
    );
    let lineage = fs::read_to_string(folder.join("gather/lineage.csv")).unwrap();
    for line in [
        "file,kind,stage,role,from",
        "eval/student.answers.safetensors,answers,infer eval,images,validation.safetensors",
        "validation.safetensors,images,test,,",
    ] {
        assert!(lineage.lines().any(|l| l == line), "{line}:\n{lineage}");
    }
    assert_eq!(lineage.lines().count(), 1 + 13 + 1, "{lineage}");
}

/// What a name does not say is no 0, and a model that is not coded is not all header.
#[test]
fn what_cannot_be_read_is_refused() {
    for (name, reason) in [
        ("q3/0.1-1", "0.1-1.answers.safetensors: expected a name of share, seed and cut"),
        ("q3/tenth-1-1", "expected a name of share, seed and cut"),
        ("bits/rounded-four", "expected a name that ends in its bits"),
    ] {
        let made = tempfile::tempdir().unwrap();
        answers(made.path(), &pictures(made.path()), &format!("eval/{name}"), [1; 8], 100);
        let refused = refused(made.path());
        assert!(refused.contains(reason), "{name}: {refused}");
    }
    let folder = gathered();
    let graph: graph::Graph = "input 3;gap;f:linear 3>2 bias".parse().unwrap();
    let images = Images::load(&folder.path().join("validation.safetensors")).unwrap();
    let model = Model::fresh(|_| Ok(graph), &images, true, 1).unwrap();
    let path = folder.path().join("model.bin");
    model.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    let refused = refused(folder.path());
    let reason = "model.bin: expected a coded file, found kind model: quantize pack writes one";
    assert!(refused.contains(reason), "{refused}");
}

#[test]
fn the_old_name_does_the_same() {
    let folder = gathered();
    let folder = folder.path();
    gather(folder, "tables");
    for name in ["trials", "ways", "pairs", "classes", "confusion", "calibration", "curves", "cost"]
    {
        let [new, old] = ["gather", "tables"]
            .map(|verb| fs::read_to_string(folder.join(verb).join(format!("{name}.csv"))).unwrap());
        assert_eq!(new, old, "{name}");
    }
}

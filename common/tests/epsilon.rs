//! A batch norm's ε is its own: nobody may know one but the operation's file, and that of a network which has
//! another.

use std::path::{Path, PathBuf};

/// All sources of programs and kernels below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_source = path.extension().is_some_and(|e| e == "rs" || e == "cu");
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if is_source && path.components().any(|c| c.as_os_str() == "src") {
            found.push(path);
        }
    }
}

/// Lines of code that name an ε of their own: a constant, or a number beside the word.
fn known(text: &str) -> Vec<&str> {
    let names = |line: &str| {
        let own = line.replace("f32::EPSILON", "").replace("f64::EPSILON", "");
        let lower = own.to_lowercase();
        let words = || lower.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
        let number = |w: &str| w.trim_end_matches(['f', '.']).parse::<f64>();
        let is_small = |w| number(w).is_ok_and(|v| v > 0.0 && v < 0.01);
        let is_asked = words().any(|w| w == "eps" || w.contains("epsilon"));
        own.contains("EPSILON") || (is_asked && !line.contains('"') && words().any(is_small))
    };
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let comment = |line: &&str| line.trim_start().starts_with("//");
    code.lines().filter(|l| !comment(l) && names(l)).collect()
}

#[test]
fn nobody_knows_an_epsilon_but_the_batch_norm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    // Adam has one too.
    let may = [
        "graph/src/op/batch_norm.rs",
        "graph/src/families/mobilenet_v3.rs",
        "graph/src/families/efficientnet_lite.rs",
        "executor/src/update.rs",
    ];
    for file in files.iter().filter(|f| !may.iter().any(|m| f.ends_with(m))) {
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(known(&text), Vec::<&str>::new(), "{}", file.display());
    }
    for planted in [
        "use graph::op::{Conv, EPSILON};",
        "use graph::op::EPSILON;",
        "let r = 1.0 / (v + epsilon.unwrap_or(1e-5)).sqrt();",
        "  const float r = rsqrtf(v + eps * 0.001f);",
    ] {
        assert_eq!(known(planted), [planted]);
    }
    assert!(known("if v < f32::EPSILON * 1e-5 {\n// an epsilon of 1e-5\nsteps * 0.001").is_empty());
}

//! With the feature `cuda`: our kernels to PTX, by the nvcc that candle's own kernels need anyway, and a table
//! of their names.

fn main() {
    println!("cargo:rerun-if-changed=src");
    #[cfg(feature = "cuda")]
    cuda::build();
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// Writes `kernels.rs`: of every file of kernels its name, its PTX, and what its kernels are called. A build
    /// script has no other way than a panic to say what is wrong.
    #[allow(clippy::disallowed_methods)] // cargo's own folder
    pub(super) fn build() {
        let found = files(Path::new("src"));
        let of = |ext: &'static str| {
            found.iter().filter(move |f| f.extension().is_some_and(|e| e == ext))
        };
        let built = cudaforge::KernelBuilder::new()
            .source_files(of("cu"))
            .watch(of("cuh"))
            .arg("-std=c++17")
            .arg("-O3")
            .build_ptx();
        built.unwrap_or_else(|e| panic!("nvcc cannot compile src/**/*.cu: {e}"));
        let (mut table, mut modules) = ("[\n".to_owned(), Vec::new());
        for file in of("cu") {
            let module = file.file_stem().and_then(|s| s.to_str()).expect("a name in ASCII");
            // All PTX lies in one folder.
            assert!(!modules.contains(&module), "two files of kernels are called {module}.cu");
            modules.push(module);
            let text = fs::read_to_string(file).expect("a file that nvcc has read");
            let names = names(&text);
            let ptx = format!("include_str!(concat!(env!(\"OUT_DIR\"), \"/{module}.ptx\"))");
            table += &format!("({module:?}, {ptx}, &{names:?}),\n");
        }
        let out = env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo sets OUT_DIR");
        fs::write(out.join("kernels.rs"), table + "]\n").expect("OUT_DIR can be written to");
    }

    /// All files in `folder` and below, sorted.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder of this package");
        let paths = entries.map(|e| e.expect("an entry of it").path());
        let mut found: Vec<_> =
            paths.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect();
        found.sort();
        found
    }

    /// What the kernels in `text` are called.
    fn names(text: &str) -> Vec<&str> {
        let heads = text.split("extern \"C\" __global__ void ").skip(1);
        heads.filter_map(|head| head.split('(').next()).collect()
    }
}

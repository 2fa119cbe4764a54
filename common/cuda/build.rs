//! With the feature `cuda`: our kernels to machine code by the nvcc that candle's own kernels need anyway, and a
//! table of their names.

fn main() {
    println!("cargo:rerun-if-changed=src");
    #[cfg(feature = "cuda")]
    cuda::build();
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::thread::{available_parallelism, scope};
    use std::{env, fs};

    /// Generations to make machine code for, where nvcc knows them: nvcc 12 before 12.8 has none above 90, 13 none
    /// below 75. A generation runs the code of its own number, and of a lower one with the same first digits (12.1
    /// that for 12.0); but for Tegra (8.7), which takes the PTX. cudaforge is not asked to compile: it turns 90 into 90a, which runs on 9.0
    /// alone and leaves no PTX for others.
    const GENERATIONS: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

    /// PTX of the oldest, which a driver turns into code for what is not in the list, when it is as new as nvcc.
    const PTX: u32 = 75;

    /// Files whose kernels must round where the CPU does: a view's pixels are compared with the CPU's, which has no
    /// fused multiply-add.
    const ROUNDED: [&str; 1] = ["render"];

    /// Writes `kernels.rs`: the generations, and of every file of kernels its name, its fat binary, and what its
    /// kernels are called. A build script has no other way than a panic to say what is wrong.
    #[allow(clippy::disallowed_methods)] // cargo's own folder
    pub(super) fn build() {
        for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        let out = env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo sets OUT_DIR");
        let nvcc = cudaforge::CudaToolkit::detect().unwrap_or_else(|e| panic!("no nvcc: {e}"));
        let nvcc = nvcc.nvcc_path;
        let generations = known(&nvcc);
        let mut kernels = files(Path::new("src"));
        kernels.retain(|f| f.extension().is_some_and(|e| e == "cu"));
        let (mut table, mut modules) = ("[\n".to_owned(), Vec::new());
        for file in &kernels {
            let module = name(file);
            // All fat binaries lie in one folder.
            assert!(!modules.contains(&module), "two files of kernels are called {module}.cu");
            modules.push(module);
            let text = fs::read_to_string(file).expect("a file of this package");
            let names = names(&text);
            let image = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{module}.fatbin\"))");
            table += &format!("({module:?}, {image}, &{names:?}),\n");
        }
        let threads = available_parallelism().map_or(1, usize::from);
        for some in kernels.chunks(threads) {
            scope(|s| {
                for file in some {
                    s.spawn(|| compile(&nvcc, file, &generations, &out));
                }
            });
        }
        fs::write(out.join("kernels.rs"), table + "]\n").expect("OUT_DIR can be written to");
        let list = format!("&{generations:?}\n");
        fs::write(out.join("generations.rs"), list).expect("OUT_DIR can be written to");
    }

    /// Those of [`GENERATIONS`] that this nvcc has.
    fn known(nvcc: &Path) -> Vec<u32> {
        let told = Command::new(nvcc).arg("--list-gpu-code").output();
        let told = told.unwrap_or_else(|e| panic!("{}: {e}", nvcc.display())).stdout;
        let told = String::from_utf8_lossy(&told);
        let all: Vec<u32> =
            told.split_whitespace().filter_map(|s| s.strip_prefix("sm_")?.parse().ok()).collect();
        let known: Vec<u32> = GENERATIONS.into_iter().filter(|g| all.contains(g)).collect();
        assert!(known.contains(&PTX), "{} knows no sm_{PTX}: {told:?}", nvcc.display());
        known
    }

    fn compile(nvcc: &Path, file: &Path, generations: &[u32], out: &Path) {
        let module = name(file);
        let mut command = Command::new(nvcc);
        command.args(["-std=c++17", "-O3", "-fatbin"]);
        if ROUNDED.contains(&module) {
            command.arg("-fmad=false");
        }
        for g in generations {
            command.arg(format!("-gencode=arch=compute_{g},code=sm_{g}"));
        }
        command.arg(format!("-gencode=arch=compute_{PTX},code=compute_{PTX}"));
        command.arg("-o").arg(out.join(format!("{module}.fatbin"))).arg(file);
        let said = command.output().unwrap_or_else(|e| panic!("{}: {e}", nvcc.display()));
        if !said.status.success() {
            let [text, errors] =
                [said.stdout, said.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
            panic!("nvcc cannot compile {}:\n{text}{errors}", file.display());
        }
    }

    /// What a file of kernels is called.
    fn name(file: &Path) -> &str {
        file.file_stem().and_then(|s| s.to_str()).expect("a name in ASCII")
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

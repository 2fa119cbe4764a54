//! With the feature `cuda`: our kernels to PTX, by the nvcc that candle's own kernels need anyway.

fn main() {
    println!("cargo:rerun-if-changed=src");
    #[cfg(feature = "cuda")]
    cuda();
}

#[cfg(feature = "cuda")]
fn cuda() {
    let files = ["activation", "conv", "grid", "loss", "norm", "optim", "pool", "sums", "views"];
    let out = std::env::var_os("OUT_DIR").map(std::path::PathBuf::from);
    let out = out.unwrap_or_else(|| panic!("cargo sets OUT_DIR"));
    let built = cudaforge::KernelBuilder::new()
        .source_files(files.map(|f| format!("src/{f}.cu")).to_vec())
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx();
    // A build script has no other way to say it.
    let built = built.unwrap_or_else(|e| panic!("nvcc cannot compile src/*.cu: {e}"));
    built.write(out.join("ptx.rs")).unwrap_or_else(|e| panic!("cannot write ptx.rs: {e}"));
}

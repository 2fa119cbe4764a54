#!/usr/bin/env bash
# tools/wasm/build.sh OUT: the classifier of a web page, compiled to WebAssembly.
#
# With rustup's toolchain and its target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`)
# that is one cargo command. Without that target, Debian's rustc-web, cargo-web, rust-web-src and lld are
# tried, which compile the standard library, too.
set -euo pipefail
out=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=wasm32-unknown-unknown
built=target/$target/page/page.wasm
export RUSTFLAGS="-C target-feature=+simd128"
build() { "$@" --profile page --target $target -p page; }
if [ -d "$(rustc --print target-libdir --target $target 2>/dev/null)" ]; then
    build cargo build
elif [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src ] && command -v wasm-ld >/dev/null \
    && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="$RUSTFLAGS -C linker=wasm-ld" \
        build /usr/bin/cargo build -Z build-std=std,panic_abort -Z build-std-features=
else
    echo "error: no compiler for $target: rustup target add $target (or, on Debian 12 and later, apt-get install" \
        "rustc-web cargo-web rust-web-src lld)" >&2
    exit 1
fi
mkdir -p "$(dirname "$out")"
cmp -s "$built" "$out" || { cp "$built" "$out.part" && mv "$out.part" "$out"; }

//! A payload behind a graph that is in order: the first byte chooses the coding, the rest is decoded.
//! What decodes must come back after encoding again.
#![no_main]

use codec::Spec;
use graph::Graph;
use std::sync::LazyLock;

static GRAPH: LazyLock<Graph> = LazyLock::new(|| {
    "input 3;a:conv 3>4 k3 p1 bias;relu6;b:conv 4>4 k3 p1 g4;n:bn 4;c:conv 4>6 k1 bias;gap;f:linear 6>3 bias"
        .parse()
        .expect("a graph")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, payload)) = bytes.split_first() else { return };
    let spec = match first % 4 {
        0 => Spec::Half,
        1 => Spec::Affine(2 + first / 4 % 7),
        _ => Spec::Grids,
    };
    if let Ok((_, quantized)) = codec::decode(&GRAPH, spec, payload)
        && spec == Spec::Grids
    {
        let again = quantized.encode(&GRAPH).expect("what was decoded can be encoded");
        let (_, twice) = codec::decode(&GRAPH, spec, &again).expect("and decoded again");
        assert!(twice == quantized);
    }
});

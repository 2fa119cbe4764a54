// Made by torch_networks.py with PyTorch 2.15.0

struct Torch {
    arch: Arch,
    width: f32,
    size: usize,
    logits: [f32; 4],
    training_logits: [f32; 4],
    gradient_norms: &'static [(&'static str, f32)],
    buffer_sums: &'static [(&'static str, f32)],
}

const TORCH: &[Torch] = &[
    Torch {
        arch: Arch::Studentnet,
        width: 0.25,
        size: 48,
        logits: [-5.588444e+00, -4.031774e+00, 3.792534e-01, 4.910170e+00],
        training_logits: [-1.663545e+00, -7.033548e-02, 1.872800e+00, 2.991601e+00],
        gradient_norms: &[
            ("cnn.0.0.weight", 1.037387e+00),
            ("cnn.0.1.bias", 5.397630e-02),
            ("cnn.2.0.weight", 8.234084e-01),
            ("cnn.3.3.weight", 5.755731e-01),
            ("cnn.5.1.weight", 5.538504e-01),
            ("cnn.7.3.bias", 7.791407e+00),
            ("fc.0.weight", 3.752532e+01),
        ],
        buffer_sums: &[
            ("cnn.0.1.running_mean", 1.214749e-01),
            ("cnn.4.1.running_var", 3.864737e+01),
        ],
    },
    Torch {
        arch: Arch::Resnet18,
        width: 1.0,
        size: 40,
        logits: [-1.041046e+03, -1.651870e+03, -2.152834e+03, -2.510800e+03],
        training_logits: [8.640310e+00, 1.059906e+01, 1.199825e+01, 1.261020e+01],
        gradient_norms: &[
            ("conv1.weight", 1.051996e+02),
            ("bn1.weight", 1.111211e+00),
            ("layer1.1.conv2.weight", 2.064920e+00),
            ("layer2.0.downsample.0.weight", 5.866056e+00),
            ("layer3.0.bn1.bias", 1.639700e-01),
            ("layer4.1.conv2.weight", 1.632252e+00),
            ("fc.bias", 3.224111e+00),
        ],
        buffer_sums: &[
            ("bn1.running_var", 5.808251e+01),
            ("layer4.1.bn2.running_mean", -1.411124e-01),
        ],
    },
];

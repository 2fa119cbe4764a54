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
        logits: [-5.58844e+00, -4.03177e+00, 3.79253e-01, 4.91017e+00],
        training_logits: [-1.66354e+00, -7.03355e-02, 1.87280e+00, 2.99160e+00],
        gradient_norms: &[
            ("cnn.0.0.weight", 1.03739e+00),
            ("cnn.0.1.bias", 5.39763e-02),
            ("cnn.2.0.weight", 8.23408e-01),
            ("cnn.3.3.weight", 5.75573e-01),
            ("cnn.5.1.weight", 5.53850e-01),
            ("cnn.7.3.bias", 7.79141e+00),
            ("fc.0.weight", 3.75253e+01),
        ],
        buffer_sums: &[
            ("cnn.0.1.running_mean", 1.21475e-01),
            ("cnn.4.1.running_var", 3.86474e+01),
        ],
    },
    Torch {
        arch: Arch::Resnet18,
        width: 1.0,
        size: 40,
        logits: [-1.04105e+03, -1.65187e+03, -2.15283e+03, -2.51080e+03],
        training_logits: [8.64031e+00, 1.05991e+01, 1.19983e+01, 1.26102e+01],
        gradient_norms: &[
            ("conv1.weight", 1.05200e+02),
            ("bn1.weight", 1.11121e+00),
            ("layer1.1.conv2.weight", 2.06492e+00),
            ("layer2.0.downsample.0.weight", 5.86606e+00),
            ("layer3.0.bn1.bias", 1.63970e-01),
            ("layer4.1.conv2.weight", 1.63225e+00),
            ("fc.bias", 3.22411e+00),
        ],
        buffer_sums: &[
            ("bn1.running_var", 5.80825e+01),
            ("layer4.1.bn2.running_mean", -1.41112e-01),
        ],
    },
];

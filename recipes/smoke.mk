# The whole pipeline in minutes on a CPU, on the built-in pictures (Fashion-MNIST, 3,000 to train
# on). It shows that everything works; it is not tuned for the last point of accuracy.

CLASSES := "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot"
# 28 px pictures enlarged to 32, so that the networks can halve them five times.
PREPARE := --size 32

# Half-width ResNet-18, 2.8 M parameters.
TEACHER := --arch resnet18 --width 0.5 --epochs 14 --batch 64 --optimizer sgd --lr 0.05 \
  --weight-decay 5e-4 --label-smoothing 0 --augment flip,shift=0.1 --seed 1

# Views the student sees: as many as it has epochs would be ideal; 8 cost little.
LOGITS := --augment flip,shift=0.1,mixup=1 --views 8 --seed 2

STUDENT := --arch studentnet --epochs 24 --batch 64 --lr 4e-3 --alpha 0.7 --temperature 4 --seed 3

# Two steps of 5 % of the channels, each tuned afterwards.
PRUNE_STEPS := 2
PRUNE := --rate 0.05
TUNE := --epochs 4 --batch 64 --lr 1e-3 --alpha 0.7 --temperature 4 --seed 4

QUANTIZE := --bits 8

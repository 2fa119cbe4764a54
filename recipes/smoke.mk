# The whole pipeline in two minutes on two cores, on the built-in pictures (Fashion-MNIST, 3,000
# to train on). It shows that everything works; it is not tuned for the last point of accuracy.

CLASSES := "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot"
# 28 px pictures enlarged to 64: both networks halve their input four or five times.
PREPARE := --size 64

# Quarter-width ResNet-18, 0.7 M parameters.
TEACHER := --arch resnet18 --width 0.25 --epochs 12 --batch 32 --optimizer sgd --lr 0.05 \
  --weight-decay 5e-4 --augment flip,scale=0.7 --seed 1

# As many views as the student has epochs would be ideal; 8 cost little.
LOGITS := --augment flip,scale=0.7,mixup=0.2 --views 8 --seed 2

STUDENT := --arch studentnet --epochs 20 --batch 32 --lr 4e-3 --alpha 0.5 --temperature 4 --seed 3

# Two steps of 5 % of the channels, each tuned afterwards.
PRUNE_STEPS := 2
PRUNE := --rate 0.05
TUNE := --epochs 3 --batch 32 --lr 1e-3 --alpha 0.5 --temperature 4 --seed 4

QUANTIZE := --bits 8

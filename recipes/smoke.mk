# The whole pipeline in about a minute and a half on two cores, on the built-in pictures (Fashion-MNIST,
# 3,000 to train on). It shows that everything works; it is not tuned for the last point.

TAKES := about 1½ minutes on 2 cores, on built-in pictures

CLASSES := "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot"
# 28 px pictures enlarged to 36: both networks halve their input four or five times. At 64 px the
# pipeline takes more than twice as long and is right a little more often (RESULTS.md).
PREPARE := --size 36

# Quarter-width ResNet-18, 0.7 M parameters.
TEACHER := --arch resnet18 --width 0.25 --epochs 15 --batch 32 --optimizer sgd --lr 0.05 \
  --weight-decay 1e-3 --ema 0.99 --augment flip,scale=0.6 --seed 1

# As many views as the student has epochs would be ideal; 10 cost little. No mixing: in so few
# epochs the student has no time to profit from it.
LOGITS := --augment flip,scale=0.7 --views 10 --seed 2

STUDENT := --arch studentnet --width 1.4 --epochs 16 --batch 32 --lr 4e-3 --weight-decay 2e-2 --ema 0.99 \
  --alpha 0.7 --temperature 4 --seed 3

# One step of 5 % of the channels, tuned afterwards. `PRUNE := low-rank --energy 0.9` would factor instead.
PRUNE_STEPS := 1
PRUNE := channels --share 0.05
TUNE := --epochs 5 --batch 32 --lr 1e-3 --weight-decay 2e-2 --ema 0.99 \
  --alpha 0.7 --temperature 4 --seed 4

# A grid for every tensor, chosen for the budget, then training on these grids.
PLAN := --pictures 300
QUANT := --epochs 5 --batch 32 --lr 3e-4 --ema 0.99 --alpha 0.7 --temperature 4 --seed 5

# The report's experiments: seconds a training.
LEARN := --epochs 6 --batch 32 --lr 4e-3 --weight-decay 2e-2 --ema 0.99
LABELS := --augment flip,scale=0.7
FROM := --alpha 0.7 --temperature 4
MEND := --epochs 2 --batch 32 --lr 1e-3 --warmup 0 --weight-decay 2e-2 --ema 0.99 --seed 1
Q1_PARAMS := 175000
Q1_ARCH := plain_separable
Q2_STUDENT := --arch studentnet --width 1.0 $(LEARN)
Q3_CHAINS := 0.1:5 0.2:3

# Food-11 at 64 px on a CPU: for Food-11 itself scaled down, or any set of the same shape whose
# pictures are small. A few hours on two cores.
#
#   make submission RECIPE=food11-like DATA=food11-like

TAKES := hours on 2 cores

CLASSES := "Bread,Dairy product,Dessert,Egg,Fried food,Meat,Noodles/Pasta,Rice,Seafood,Soup,Vegetable/Fruit"
PREPARE := --size 64

# Half-width ResNet-18, 2.8 M parameters.
TEACHER := --arch resnet18 --width 0.5 --epochs 60 --batch 32 --optimizer sgd --lr 0.05 --warmup 3 \
  --weight-decay 1e-3 --ema 0.999 --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1 --seed 1

LOGITS := --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1 --views 40 --seed 2

# Twice the tutorial's widths, 994,000 parameters. Files hold 727,000 of them, as last layers are joined: 3.3 bits each; on
# Food-11-like pictures nothing was lost when it was all of them at 2.4 (RESULTS.md).
STUDENT := --arch studentnet --width 2.0 --epochs 80 --batch 32 --lr 3e-3 --warmup 3 --weight-decay 2e-2 \
  --ema 0.999 --alpha 0.7 --temperature 4 --seed 3

PRUNE_STEPS := 0
PRUNE := channels --share 0.05
TUNE := --epochs 10 --batch 32 --lr 1e-3 --ema 0.999 --alpha 0.7 --temperature 4 --seed 4

# A grid for every tensor, chosen for the budget, then training on these grids.
PLAN := --pictures 300
QUANT := --epochs 20 --batch 32 --lr 1e-3 --ema 0.999 --alpha 0.7 --temperature 4 --seed 5

# What hw7_test.sh answers with.
HAND_IN := model.bin

# The report's experiments: days on two cores; recipe food11-like-short takes two to three hours.
LEARN := --epochs 60 --batch 32 --lr 3e-3 --warmup 2 --weight-decay 2e-2 --ema 0.999
LABELS := --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1
FROM := --alpha 0.7 --temperature 4
MEND := --epochs 5 --batch 32 --lr 1e-3 --warmup 0 --weight-decay 2e-2 --ema 0.99 --seed 1
Q1_PARAMS := 700000
Q1_ARCH := studentnet
Q2_STUDENT := --arch studentnet --width 1.0 $(LEARN)
Q3_CHAINS := 0.05:10 0.1:5

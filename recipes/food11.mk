# The course's setting on Food-11: 128 px, a full ResNet-18 teacher trained from scratch. Days on a few CPU cores
# (see RESULTS.md for speeds); meant for many cores.
#
#   make submission RECIPE=food11 DATA=food-11
#   make submission RECIPE=food11 DATA=food-11 FEATURES=cuda DEVICE=cuda     below 2 GB of a GPU's memory; see RESULTS.md

TAKES := days on a few CPU cores, meant for many or a GPU

CLASSES := "Bread,Dairy product,Dessert,Egg,Fried food,Meat,Noodles/Pasta,Rice,Seafood,Soup,Vegetable/Fruit"
PREPARE := --size 128

TEACHER := --arch resnet18 --epochs 200 --batch 64 --optimizer sgd --lr 0.1 --warmup 5 \
  --weight-decay 5e-4 --ema 0.999 --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1,plain=0.5 --seed 1

LOGITS := --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1,plain=0.3 --views 100 --seed 2

# As in recipe food11-like: torchvision's stem makes of 128 px what half of it makes of 64, maps of 32 × 32, and 1.4 M parameters
# are 1.7 bits each in the file. Not run on Food-11: longer than there, as it is meant for a GPU.
STUDENT := --arch resnet18 --params 1400000 --epochs 300 --batch 32 --optimizer sgd --lr 0.05 --warmup 5 \
  --weight-decay 5e-4 --ema 0.999 --alpha 0.9 --temperature 4 --seed 3

# The plan makes it fit; pruning would only be for speed.
PRUNE_STEPS := 0
PRUNE := channels --share 0.05
TUNE := --epochs 30 --batch 32 --lr 5e-4 --ema 0.999 --alpha 0.9 --temperature 4 --seed 4

# A grid for every tensor, chosen for the budget, then training on these grids.
PLAN := --pictures 1000 --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1,plain=0.5
QUANT := --epochs 40 --batch 32 --lr 3e-4 --ema 0.999 --alpha 0.9 --temperature 4 --seed 5

# Four views answer together: at 64 px zoom=8 was worth a point, and 16 of 128 px is the same share; not measured here.
VIEWS := flip,zoom=16

# What hw7_test.sh answers with.
HAND_IN := model.bin

# The report's experiments: meant for a GPU or a cluster (tools/slurm).
LEARN := --epochs 150 --batch 32 --lr 2e-3 --warmup 5 --ema 0.999
LABELS := --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1
FROM := --alpha 0.9 --temperature 4
MEND := --epochs 10 --batch 32 --lr 5e-4 --warmup 0 --ema 0.999 --seed 1
Q1_PARAMS := 2800000
Q1_ARCH := studentnet
Q2_STUDENT := --arch studentnet --width 1.0 $(LEARN)
Q3_CHAINS := 0.05:10 0.1:5

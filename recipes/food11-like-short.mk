# For the report's experiments on two cores, on the pictures of recipe food11-like: smaller networks, on smaller maps, and
# everything cut short. All are far from what longer training would make of them, so its answers are about short training.
#
#   make report RECIPE=food11-like-short DATA=food11-like

include recipes/food11-like.mk

TAKES := hours on 2 cores

# Quarter-width ResNet-18, 0.7 M parameters.
TEACHER := --arch resnet18 --width 0.25 --epochs 20 --batch 32 --optimizer sgd --lr 0.05 --warmup 1 \
  --weight-decay 1e-3 --ema 0.999 --augment flip,scale=0.4,rotate=15,colour=0.2 --seed 1
LOGITS := --augment flip,scale=0.4,rotate=15,colour=0.2 --views 10 --seed 2
STUDENT := --arch studentnet --width 1.4 --epochs 12 --batch 32 --lr 3e-3 --warmup 1 --weight-decay 2e-2 \
  --ema 0.998 --alpha 0.7 --temperature 4 --seed 3
PLAN := --pictures 300
QUANT := --epochs 4 --batch 32 --lr 1e-3 --ema 0.998 --alpha 0.7 --temperature 4 --seed 5
VIEWS :=
HAND_IN :=

LEARN := --epochs 8 --batch 32 --lr 3e-3 --warmup 1 --weight-decay 2e-2 --ema 0.998
LABELS := --augment flip,scale=0.4,rotate=15,colour=0.2
MEND := --epochs 1 --batch 32 --lr 1e-3 --warmup 0 --weight-decay 2e-2 --ema 0.99 --seed 1
Q1_PARAMS := 175000
Q2_STUDENT := --arch studentnet --width 1.0 --epochs 16 --batch 32 --lr 3e-3 --warmup 1 --weight-decay 2e-2 --ema 0.998
Q3_CHAINS := 0.1:5 0.2:3
BITS := 8 5 4 3 2

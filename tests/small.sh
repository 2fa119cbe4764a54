# Sourced by tests that need a pipeline in seconds: a few of the built-in pictures in $work/data, and
# `small TARGET …`, make on them with everything cut short.
[ -d artifacts/smoke/photos ] || { mkdir -p artifacts/smoke/photos && tar -xzf samples/pictures.tar.gz -C artifacts/smoke/photos; }
data=$work/data
# Of every class as many as there are, about: each n-th in the order of the names.
for split in training:240:12 validation:60:16 testing:20:50; do
    IFS=: read -r folder n nth <<<"$split"
    mkdir -p "$data/$folder"
    find "artifacts/smoke/photos/$folder" -type f | sort | awk -v n="$n" -v nth="$nth" 'NR % nth == 1 && k++ < n' \
        | xargs -I{} cp {} "$data/$folder/"
done
classes='"T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot"'
small() {
    make --no-print-directory DATA="$data" RECIPE=smoke PREPARE='--size 32' CLASSES="$classes" \
        TEACHER='--arch resnet18 --width 0.125 --epochs 2 --seed 1' LOGITS='--augment flip --views 2' \
        STUDENT='--arch studentnet --width 0.5 --epochs 2 --seed 3' PRUNE_STEPS=1 TUNE='--epochs 1 --seed 4' \
        BUDGET=40000 PLAN='--pictures 60' QUANT='--epochs 1 --seed 5' SEEDS='1 2' LEARN='--epochs 2 --batch 32' \
        LABELS='--augment flip' MEND='--epochs 1 --warmup 0 --lr 1e-3 --seed 1' Q1_PARAMS=40000 Q3_CHAINS='0.1:2 0.2:1' \
        Q4_PARAMS=20000 BITS='8 4' "$@"
}

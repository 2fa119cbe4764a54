# The experiments of the assignment's report: four questions, and accuracy against bytes. Included by the
# Makefile, whose `stage` and `measure` it calls. Artifacts lie in $(OUT)/q1 … q4 and $(OUT)/bits, what they
# are worth in $(OUT)/eval/q1 …; the name of a file is the name of the experiment and its seed.
#
# Settings are the recipe's: SEEDS, LEARN and LABELS (a fresh network from labels), FROM (and from a teacher),
# MEND (after a cut), Q1_PARAMS, Q1_ARCH, Q3_CHAINS, Q4_PARAMS, BITS.

# Every training that a question asks for is made with each of these seeds.
SEEDS ?= 1 2 3
# A second teacher, fine-tuned elsewhere: the assignment's teacher (b).
TEACHER_B ?=
# Words of the report: en or zh.
LANG_REPORT ?= en

NEEDED := LEARN LABELS FROM MEND Q1_PARAMS Q1_ARCH Q2_STUDENT Q3_CHAINS Q3_PRUNE Q4_PARAMS BITS
settled:
	@$(foreach v,$(NEEDED),$(if $($v),,echo "error: the report needs $v, which recipe $(RECIPE) does not set: \
	  see recipes/smoke.mk" >&2; exit 1;)):

EVALS :=# $(call trial,row,artifact): the row belongs to the report.
define trial
$(call measure,$1,$2)
EVALS += $(OUT)/eval/$1.csv
endef

# $(call seeded,flags,seed): the flags with this seed instead of theirs.
seeded = $(strip $(patsubst seed=%,,$(subst --seed ,seed=,$1)) --seed $2)

# $(call fresh,X,network,seed): from labels. $(call taught,X,network,seed,logits): from a teacher.
fresh = $(call stage,$(OUT)/$1.safetensors,$(PICTURES),train --reuse $(TRAIN_ON) $(call seeded,$2 $(LABELS),$3))
taught = $(call stage,$(OUT)/$1.safetensors,$(PICTURES) $(OUT)/$4.safetensors,\
  distill --reuse $(TRAIN_ON) --logits $(OUT)/$4.safetensors $(call seeded,$2 $(FROM),$3))
# $(call cut,X,model,how) and $(call mended,X,model,loss,seed): the two steps of pruning.
cut = $(call stage,$(OUT)/$1.safetensors,$(OUT)/$2.safetensors $(OUT)/training.safetensors,\
  prune $3 --model $(OUT)/$2.safetensors --images $(OUT)/training.safetensors $(ON_DEVICE))
mended = $(call stage,$(OUT)/$1.safetensors,$(OUT)/$2.safetensors $(PICTURES) $(OUT)/logits.safetensors,\
  $(DISTILL) --init $(OUT)/$2.safetensors $(call seeded,$(MEND) $3,$4))

# --- 1: one big model, the teacher, to Q1_PARAMS parameters; each way alone, so from labels but for distillation
NARROW := $(wordlist 1,2,$(TEACHER)) --params $(Q1_PARAMS) $(LEARN)
$(eval $(call cut,q1/cut,teacher,channels --by taylor --scope global --params $(Q1_PARAMS)))
$(eval $(call cut,q1/factors,teacher,low-rank --params $(Q1_PARAMS)))
$(eval $(call stage,$(OUT)/q1/quantized.bin,$(OUT)/teacher.safetensors,\
  quantize pack --model $(OUT)/teacher.safetensors --bits 8 --budget 100000000))
$(eval $(call trial,q1/quantization,q1/quantized.bin))
define question1
$(call fresh,q1/none-$1,$(NARROW),$1)
$(call taught,q1/distillation-$1,$(NARROW),$1,logits)
$(call fresh,q1/architecture-$1,--arch $(Q1_ARCH) --params $(Q1_PARAMS) $(LEARN),$1)
$(call mended,q1/pruning-$1,q1/cut,--alpha 0,$1)
$(call mended,q1/low-rank-$1,q1/factors,--alpha 0,$1)
$(foreach way,none distillation architecture pruning low-rank,$(call trial,q1/$(way)-$1,q1/$(way)-$1.safetensors)
)
endef
$(foreach seed,$(SEEDS),$(eval $(call question1,$(seed))))

# --- 2: teachers, and the student from labels and from each of them
ifneq ($(TEACHER_B),)
$(eval $(call stage,$(OUT)/q2/teacher-b.safetensors,$(TEACHER_B),\
  prepare model $(TEACHER_B) $(PREPARE) $(FIT) $(NAMED)))
$(eval $(call stage,$(OUT)/q2/logits-b.safetensors,$(OUT)/q2/teacher-b.safetensors $(OUT)/training.safetensors,\
  infer logits --reuse --teacher $(OUT)/q2/teacher-b.safetensors --images $(OUT)/training.safetensors $(ON_DEVICE) $(LOGITS)))
$(eval $(call trial,q2/teacher-b,q2/teacher-b.safetensors))
endif
define question2
$(call fresh,q2/scratch-$1,$(Q2_STUDENT),$1)
$(call taught,q2/from-a-$1,$(Q2_STUDENT),$1,logits)
$(call trial,q2/scratch-$1,q2/scratch-$1.safetensors)
$(call trial,q2/from-a-$1,q2/from-a-$1.safetensors)
$(if $(TEACHER_B),$(call taught,q2/from-b-$1,$(Q2_STUDENT),$1,q2/logits-b)
$(call trial,q2/from-b-$1,q2/from-b-$1.safetensors))
endef
$(foreach seed,$(SEEDS),$(eval $(call question2,$(seed))))

# --- 3: chains of (cut, mended) from the student, at each rate
# $(call link,chain,model before,rate,k,seed)
define link
$(call cut,q3/$1-$5-$4-cut,$2,channels --rate $3 $(Q3_PRUNE))
$(call mended,q3/$1-$5-$4,q3/$1-$5-$4-cut,$(FROM),$5)
$(call trial,q3/$1-$5-$4,q3/$1-$5-$4.safetensors)
endef
# $(call chain,name,rate,steps,seed)
define chain
$(call link,$1,student,$2,1,$4)
$(foreach k,$(wordlist 2,$3,$(shell seq 1 $3)),$(call link,$1,q3/$1-$4-$(shell expr $k - 1),$2,$k,$4)
)
endef
# Q3_CHAINS holds rate:steps, e.g. 0.05:10 0.1:5.
parts = $(subst :, ,$1)
$(foreach c,$(Q3_CHAINS),$(foreach seed,$(SEEDS),$(eval \
  $(call chain,$(word 1,$(call parts,$c)),$(word 1,$(call parts,$c)),$(word 2,$(call parts,$c)),$(seed)))))

# --- 4: three twins of about 1 MB
TWINS := plain plain_separable plain_grouped
define question4
$(call fresh,q4/$1-$2,--arch $1 --params $(Q4_PARAMS) $(LEARN),$2)
$(call trial,q4/$1-$2,q4/$1-$2.safetensors)
endef
$(foreach seed,$(SEEDS),$(foreach twin,$(TWINS),$(eval $(call question4,$(twin),$(seed)))))

# --- accuracy against bytes: every weight of the student in so many bits, rounded, and trained on these grids
define bits
$(call stage,$(OUT)/bits/rounded-$1.bin,$(OUT)/$(LAST).safetensors,\
  quantize pack --model $(OUT)/$(LAST).safetensors --bits $1 --grid channel --budget 100000000)
$(call stage,$(OUT)/bits/plan-$1.safetensors,$(OUT)/$(LAST).safetensors $(OUT)/validation.safetensors,\
  quantize plan --reuse --model $(OUT)/$(LAST).safetensors --images $(OUT)/validation.safetensors --bits $1 \
  --budget 100000000 --pictures 100 $(ON_DEVICE))
$(call stage,$(OUT)/bits/on-$1.safetensors,$(OUT)/bits/plan-$1.safetensors $(OUT)/$(LAST).safetensors $(PICTURES) \
  $(OUT)/logits.safetensors,$(DISTILL) --init $(OUT)/$(LAST).safetensors --quant $(OUT)/bits/plan-$1.safetensors $(MEND) $(FROM))
$(call stage,$(OUT)/bits/trained-$1.bin,$(OUT)/bits/on-$1.safetensors,\
  quantize pack --model $(OUT)/bits/on-$1.safetensors --budget 100000000)
$(call trial,bits/rounded-$1,bits/rounded-$1.bin)
$(call trial,bits/trained-$1,bits/trained-$1.bin)
endef
$(foreach b,$(BITS),$(eval $(call bits,$b)))

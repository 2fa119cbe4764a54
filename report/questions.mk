# The experiments of the assignment's report: four questions, and accuracy against bytes. Included by the
# Makefile, whose variables and `stage` it uses. Artifacts lie in $(OUT)/q1 … q4 and $(OUT)/bits, what they
# are worth in $(OUT)/eval/q1 …; the name of a file is the name of the experiment and its seed.
#
# Settings are the recipe's: LEARN and LABELS (a fresh network from labels), FROM (and from a teacher), MEND (after a
# cut), Q1_PARAMS, Q1_ARCH, Q2_STUDENT, Q3_CHAINS; and those below, where it does not leave them as they are.
#
# What questions 1 to 3 compare differs in nothing else: their networks learn from the same stored views (those of the
# logits, which at --alpha 0 weigh nothing), and in question 1 see the pictures equally often. The twins of question 4
# see views drawn anew, by one policy and seed.

# Every training that a question asks for is made with each of these seeds.
SEEDS ?= 1 2 3
# How channels are ranked in question 3, how large the twins of question 4 are, and widths of every weight.
Q3_PRUNE ?= --by gamma --scope layer
Q4_PARAMS ?= 250000
BITS ?= 8 6 5 4 3 2
# $(call epochs,flags): how often these see the pictures.
epochs = $(lastword $(patsubst epochs=%,%,$(filter epochs=%,$(subst --epochs=,epochs=,$(subst --epochs ,epochs=,$(strip $1))))))
# A cut or factored teacher has seen the pictures as often as the teacher before it is mended; what begins afresh in
# question 1 sees them as often in all. How often a teacher from elsewhere did is not known.
Q1_EPOCHS := $(if $(TEACHER_FILE),,$(if $(call epochs,$(TEACHER)),$(shell \
  expr $(call epochs,$(TEACHER)) + 0$(call epochs,$(MEND)))))
Q1_LEARN ?= $(if $(Q1_EPOCHS),$(patsubst epochs=%,--epochs $(Q1_EPOCHS),$(subst --epochs=,epochs=,$(subst --epochs ,epochs=,$(strip $(LEARN))))),$(LEARN))
# A second teacher, fine-tuned elsewhere: the assignment's teacher (b).
TEACHER_B ?=
# Words of the report: en or zh.
LANG_REPORT ?= en

NEEDED := STUDENT LEARN LABELS FROM MEND Q1_PARAMS Q1_ARCH Q2_STUDENT Q3_CHAINS
settled:
	@$(foreach setting,$(NEEDED),$(if $($(setting)),,echo "error: the report needs $(setting), which recipe \
	  $(RECIPE) does not set$(if $(filter STUDENT,$(setting)), (where the teacher itself is made smaller there is no report)): \
	  see recipes/smoke.mk" >&2; exit 1;)):
	@case '$(Q3_CHAINS)' in *-*) echo 'error: Q3_CHAINS=$(Q3_CHAINS): write shares as decimals such as 0.01: a dash' \
	  'parts the names of its models' >&2; exit 1;; esac

# --- names: whose accuracy the report tells
Q1 := $(foreach way,none distillation architecture pruning low-rank,$(SEEDS:%=q1/$(way)-%))
Q2 := $(foreach way,scratch from-a $(if $(TEACHER_B),from-b),$(SEEDS:%=q2/$(way)-%))
# Q3_CHAINS holds share:cuts, e.g. 0.05:10 0.1:5; a model is called by share, seed and how often it was cut.
colon = $(subst :, ,$1)
CUTS := $(shell seq 1 $$(printf '%s\n' $(Q3_CHAINS) | cut -d: -f2 | sort -n | tail -1))
Q3 := $(foreach chain,$(Q3_CHAINS),$(foreach seed,$(SEEDS),\
  $(patsubst %,q3/$(word 1,$(call colon,$(chain)))-$(seed)-%,$(wordlist 1,$(word 2,$(call colon,$(chain))),$(CUTS)))))
Q4 := $(foreach twin,plain plain_separable plain_grouped,$(SEEDS:%=q4/$(twin)-%))
EXPERIMENTS := q1/quantization $(Q1) $(if $(TEACHER_B),q2/teacher-b) $(Q2) $(Q3) $(Q4) \
  $(BITS:%=bits/rounded-%) $(BITS:%=bits/trained-%)

# What stands between the dashes of an artifact's name; its seed, or how many bits.
part = $(word $1,$(subst -, ,$(basename $(@F))))
last = $(lastword $(subst -, ,$(basename $(@F))))

# --- commands
# $(call seeded,flags,seed): the flags with this seed instead of theirs.
seeded = $(patsubst seed=%,,$(subst --seed ,seed=,$(strip $1))) --seed $2
# $(call fresh,network): from labels. $(call taught,network,logits): from a teacher.
fresh = train --reuse $(TRAIN_ON) $(call seeded,$1 $(LABELS),$(last))
taught = distill --reuse $(TRAIN_ON) --logits $(OUT)/$2.safetensors $(call seeded,$1 $(FROM),$(last))
labelled = $(DISTILL) $(call seeded,$1 --alpha 0,$(last))
# $(call mended,cut model,loss,seed): what follows a `cut`.
mended = $(DISTILL) --init $(OUT)/$1.safetensors $(call seeded,$(MEND) $2,$3)
# No budget: what a file of so many bits takes is the question.
UNLIMITED := --budget 100000000

# --- 1: one big model, the teacher, to Q1_PARAMS parameters; each way alone, so from labels but for distillation
# The teacher's family, its maps as large, made narrow.
FAMILY := $(foreach flag,arch stem-stride,$(patsubst $(flag)=%,--$(flag) %,$(filter $(flag)=%,\
  $(subst --$(flag) ,$(flag)=,$(strip $(TEACHER))))))
NARROW := $(FAMILY) --params $(Q1_PARAMS) $(Q1_LEARN)

$(OUT)/q1/none-%.safetensors: command = $(call labelled,$(NARROW))
$(SEEDS:%=$(OUT)/q1/none-%.safetensors): $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

$(OUT)/q1/distillation-%.safetensors: command = $(call taught,$(NARROW),logits)
$(SEEDS:%=$(OUT)/q1/distillation-%.safetensors): $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

$(OUT)/q1/architecture-%.safetensors: command = $(call labelled,--arch $(Q1_ARCH) --params $(Q1_PARAMS) $(Q1_LEARN))
$(SEEDS:%=$(OUT)/q1/architecture-%.safetensors): $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

$(OUT)/q1/cut.safetensors: command = $(call cut,channels --by taylor --scope global --params $(Q1_PARAMS),\
  $(OUT)/teacher.safetensors)
$(OUT)/q1/cut.safetensors: $(OUT)/teacher.safetensors $(TRAINING) $$(changed) | tools lock
	$(stage)
$(OUT)/q1/pruning-%.safetensors: command = $(call mended,q1/cut,--alpha 0,$(last))
$(SEEDS:%=$(OUT)/q1/pruning-%.safetensors): $(OUT)/q1/cut.safetensors $(PICTURES) $(OUT)/logits.safetensors \
  $$(changed) | tools lock
	$(stage)

$(OUT)/q1/factors.safetensors: command = $(call cut,low-rank --params $(Q1_PARAMS),$(OUT)/teacher.safetensors)
$(OUT)/q1/factors.safetensors: $(OUT)/teacher.safetensors $(TRAINING) $$(changed) | tools lock
	$(stage)
$(OUT)/q1/low-rank-%.safetensors: command = $(call mended,q1/factors,--alpha 0,$(last))
$(SEEDS:%=$(OUT)/q1/low-rank-%.safetensors): $(OUT)/q1/factors.safetensors $(PICTURES) $(OUT)/logits.safetensors \
  $$(changed) | tools lock
	$(stage)

$(OUT)/q1/quantized.bin: command = quantize pack --model $(OUT)/teacher.safetensors --bits 8 --grid affine $(UNLIMITED)
$(OUT)/q1/quantized.bin: $(OUT)/teacher.safetensors $$(changed) | tools lock
	$(stage)
$(OUT)/eval/q1/quantization.csv $(OUT)/test/q1/quantization.csv: model = $(OUT)/q1/quantized.bin

# --- 2: teachers, and the student from labels and from each of them
$(OUT)/q2/scratch-%.safetensors: command = $(call labelled,$(Q2_STUDENT))
$(SEEDS:%=$(OUT)/q2/scratch-%.safetensors): $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

$(OUT)/q2/from-a-%.safetensors: command = $(call taught,$(Q2_STUDENT),logits)
$(SEEDS:%=$(OUT)/q2/from-a-%.safetensors): $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

ifneq ($(TEACHER_B),)
$(OUT)/q2/teacher-b.safetensors: command = prepare model $(TEACHER_B) $(PREPARE) $(FIT) $(NAMED)
$(OUT)/q2/teacher-b.safetensors: $(TEACHER_B) $$(changed) | tools lock
	$(stage)

$(OUT)/q2/logits-b.safetensors: command = $(call logits,q2/teacher-b)
$(OUT)/q2/logits-b.safetensors: $(OUT)/q2/teacher-b.safetensors $(TRAINING) $$(changed) | tools lock
	$(stage)

$(OUT)/q2/from-b-%.safetensors: command = $(call taught,$(Q2_STUDENT),q2/logits-b)
$(SEEDS:%=$(OUT)/q2/from-b-%.safetensors): $(PICTURES) $(OUT)/q2/logits-b.safetensors $$(changed) | tools lock
	$(stage)
endif

# --- 3: chains of (cut, mended) from the student, at each share
# The model before this cut: the student, or what the cut before became.
before = $(OUT)/$(word $(call part,3),student $(CUTS:%=q3/$(call part,1)-$(call part,2)-%)).safetensors
$(OUT)/q3/%-cut.safetensors: command = $(call cut,channels --share $(call part,1) $(Q3_PRUNE),$(before))
$(Q3:%=$(OUT)/%-cut.safetensors): $$(before) $(TRAINING) $$(changed) | tools lock
	$(stage)

$(OUT)/q3/%.safetensors: command = $(call mended,q3/$*-cut,$(FROM),$(call part,2))
$(Q3:%=$(OUT)/%.safetensors): $(OUT)/q3/%.safetensors: $(OUT)/q3/%-cut.safetensors $(PICTURES) \
  $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

# --- 4: three twins of about 1 MB
$(OUT)/q4/%.safetensors: command = $(call fresh,--arch $(call part,1) --params $(Q4_PARAMS) $(LEARN))
$(Q4:%=$(OUT)/%.safetensors): $(PICTURES) $$(changed) | tools lock
	$(stage)

# --- accuracy against bytes: every weight of the student in so many bits, rounded, and trained on these grids
$(OUT)/bits/rounded-%.bin: command = quantize pack --model $(LAST) --bits $* --grid channel $(UNLIMITED)
$(BITS:%=$(OUT)/bits/rounded-%.bin): $(OUT)/bits/rounded-%.bin: $(LAST) $$(changed) | tools lock
	$(stage)

$(OUT)/bits/plan-%.safetensors: command = quantize plan --reuse --model $(LAST) --images $(TRAINING) --bits $* \
  $(UNLIMITED) --pictures 100 $(ON_DEVICE)
$(BITS:%=$(OUT)/bits/plan-%.safetensors): $(OUT)/bits/plan-%.safetensors: $(LAST) $(TRAINING) $$(changed) | tools lock
	$(stage)

$(OUT)/bits/on-%.safetensors: command = $(DISTILL) --init $(LAST) --quant $(OUT)/bits/plan-$*.safetensors \
  $(MEND) $(FROM)
$(BITS:%=$(OUT)/bits/on-%.safetensors): $(OUT)/bits/on-%.safetensors: $(OUT)/bits/plan-%.safetensors $(LAST) \
  $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

$(OUT)/bits/trained-%.bin: command = quantize pack --model $(OUT)/bits/on-$*.safetensors $(UNLIMITED)
$(BITS:%=$(OUT)/bits/trained-%.bin): $(OUT)/bits/trained-%.bin: $(OUT)/bits/on-%.safetensors $$(changed) | tools lock
	$(stage)
$(OUT)/eval/bits/%.csv $(OUT)/test/bits/%.csv: model = $(OUT)/$*.bin

.PRECIOUS: $(patsubst %,$(OUT)/%.safetensors,q1/cut q1/factors $(Q1) q2/teacher-b q2/logits-b $(Q2) $(Q3:%=%-cut) $(Q3) \
  $(Q4) $(BITS:%=bits/plan-%) $(BITS:%=bits/on-%)) \
  $(patsubst %,$(OUT)/%.bin,q1/quantized $(BITS:%=bits/rounded-%) $(BITS:%=bits/trained-%))

# From pictures to a model file of at most 300,000 bytes. `make help` lists what there is.
#
# Every artifact is a file in $(OUT); beside artifact X lies X.flags, the command that made it, removed
# before a stage runs and written after it. A command that differs from its .flags makes X again, and
# everything made from X; `make -n` tells in advance. Rebuilding the tools throws no training away; nor
# does a lost or doubtful .flags: what takes long is called with --reuse and keeps an artifact that says
# itself that this command made it from these files.
#
# To add a stage: write it as a program from files to one file (--out), then call `stage` below with
# the artifact, the artifacts it is made from and the command without --out, at the place where its
# inputs are known; later stages name the artifact as theirs. Its flags get a variable of their own in
# every recipe. Nothing else knows the order.

# Older ones read every .flags as empty, and make everything again every time.
ifneq ($(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)),)
$(error GNU make 4.2 or newer is needed, this is $(MAKE_VERSION): on macOS, brew install make and then gmake)
endif

# The recipe: recipes/$(RECIPE).mk holds the flags of every stage.
# Default: smoke (built-in pictures, minutes on a CPU); with DATA given: food11.
RECIPE ?= $(if $(DATA),food11,smoke)
# Folder that holds training/, validation/ and testing/. Default: the built-in pictures.
DATA ?=
# Where artifacts go.
OUT ?= artifacts/$(RECIPE)
# Put before every stage command, e.g. RUN="nice" or RUN="/usr/bin/time -v".
RUN ?=
# A teacher from elsewhere (a PyTorch file, see prepare model --help), instead of training one.
TEACHER_FILE ?=
# Largest size of the shipped file, bytes.
BUDGET ?= 300000
# Where networks run: cpu, cuda, cuda:N, candle or auto. Default: cpu.
DEVICE ?=
# cuda: build the stages with CUDA (README, "On a GPU").
FEATURES ?=
# Threads per stage. Default: all cores. Results do not depend on it, so it is no flag.
THREADS ?=

# Where the recipe's finished file is copied; empty: nowhere but $(OUT). Recipes that are a hand-in set it.
HAND_IN ?=

# What make or a shell would take for something else than a part of a name.
hash := \#
SPECIAL := ( ) & ; | < > * ? [ ] ' " ` \ $$ : % ! = $(hash)
odd = $(if $(filter command environment,$(origin $1)),$(strip $(if $(word 2,$(value $1)),spaces) $(foreach c,$(SPECIAL),$(findstring $c,$(value $1)))))
$(foreach v,DATA OUT TEACHER_FILE TEACHER_B HAND_IN,$(if $(call odd,$v),$(error $v must not contain $(call odd,$v): make a \
  symbolic link to it with a plain name)))
ifeq ($(wildcard recipes/$(RECIPE).mk),)
$(error no recipe "$(RECIPE)": there are $(basename $(notdir $(wildcard recipes/*.mk))))
endif
include recipes/$(RECIPE).mk
ifneq ($(DATA),)
MISSING := $(foreach split,training validation testing,$(if $(wildcard $(DATA)/$(split)/.),,$(split)))
ifneq ($(strip $(MISSING)),)
$(error DATA=$(DATA): no folder $(strip $(MISSING)) in it; it should hold training/, validation/ and testing/)
endif
EMPTY := $(foreach split,training validation testing,$(if $(wildcard $(DATA)/$(split)/*),,$(split)))
ifneq ($(strip $(EMPTY)),)
$(error DATA=$(DATA): nothing in the folder $(strip $(EMPTY)); all three need pictures)
endif
endif

BIN := target/release
WITH := $(if $(FEATURES),-p common --features $(FEATURES:%=common/%))
STAGES := prepare train distill prune quantize infer report
PHOTOS := $(if $(DATA),$(DATA),$(OUT)/photos)
STEPS := $(shell seq 1 $(PRUNE_STEPS))
LAST := $(lastword student $(STEPS:%=tuned%))
export RAYON_NUM_THREADS := $(THREADS)

.PHONY: help submission page report typeset experiments settled announce test faults tools lock clean FORCE
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t14
	@echo 'recipes: $(basename $(notdir $(wildcard recipes/*.mk)))'

# The file that ships is read once more: its sum must be right, and the table's row must be about it.
submission: announce $(OUT)/table.txt $(OUT)/prediction.csv ## train, compress, pack, measure, predict
	@hash=$$($(BIN)/report show $(OUT)/model.bin | awk '$$1 == "hash" { print $$2 }') && [ -n "$$hash" ] && \
	  { grep -q "$$hash" $(OUT)/eval/shipped.csv || { echo "error: $(OUT)/eval/shipped.csv is about another \
	  file than $(OUT)/model.bin: remove it" >&2; false; }; }
	@cat $(OUT)/table.txt
	@$(if $(HAND_IN),cmp -s $(OUT)/model.bin $(HAND_IN) || \
	  { cp $(OUT)/model.bin $(HAND_IN).part && mv $(HAND_IN).part $(HAND_IN); })
	@echo "shipped file  $(OUT)/model.bin$(if $(HAND_IN),$(,) copied to $(HAND_IN))"
	@echo "predictions   $(OUT)/prediction.csv"

# Before anything is made: how long it will take.
announce:
	@$(if $(wildcard $(OUT)/table.txt),:,echo "recipe $(RECIPE)$(if $(TAKES),: $(TAKES))")
	@$(if $(wildcard $(BIN)/report),:,echo "first the tools are compiled: about 2½ minutes on 2 cores")

# Whether a process runs: it is there, and, where the system tells, it is a make and not a dead one.
runs = { kill -0 $1 2>/dev/null && { [ ! -e /proc/$1/status ] || \
  { grep -q '^Name:.*make' /proc/$1/status && ! grep -q '^State:.*Z' /proc/$1/status; }; }; }

# One make at a time in $(OUT): a link to the number of its process, which the next takes over if that
# process has ended. Two with other flags would mix their artifacts.
lock:
	@mkdir -p $(OUT) && me=$$PPID@$$(uname -n) && for try in 1 2 3; do \
	  ln -s $$me $(OUT)/.make 2>/dev/null && exit 0; \
	  owner=$$(readlink $(OUT)/.make) || continue; \
	  [ "$$owner" = $$me ] && exit 0; \
	  if [ "$${owner#*@}" != "$$(uname -n)" ] || $(call runs,$${owner%@*}); then \
	    echo "error: another make works in $(OUT) (process $$owner): wait for it, or give OUT=; if it has \
	ended, remove $(OUT)/.make" >&2; exit 1; fi; \
	  rm -f $(OUT)/.make; done; echo "error: cannot lock $(OUT)" >&2; exit 1

tools: | announce ## build the stages
	cargo build --release $(STAGES:%=-p %) $(WITH)

# Where checks that cannot be made here leave a line.
export SKIPPED := $(CURDIR)/target/skipped

test: ## all tests: units, kernels, the pipeline on the built-in pictures
	@mkdir -p target && rm -f $(SKIPPED)
	cargo test --release --workspace --exclude typeset
	tests/pipeline.sh
	tests/report.sh
	tests/make.sh
	tests/interrupts.sh
	tests/faults.sh
	python3 tests/licences.py
	tests/foreign.sh
	@if [ -s $(SKIPPED) ]; then echo "checks skipped: $$(sort -u $(SKIPPED) | wc -l)"; \
	  sort -u $(SKIPPED) | sed 's/^/  /'; else echo "checks skipped: 0"; fi

faults: tools ## a failing disk at every call of every stage, memory errors in the kernels
	tests/faults.sh all
	tests/memory.sh

clean: ## remove the artifacts of this recipe
	rm -rf $(OUT)

# $(call differs,X,command): FORCE if X was not made by this command.
differs = $(if $(and $(findstring x$(strip $2)x,x$(file <$1.flags)x),$(findstring x$(file <$1.flags)x,x$(strip $2)x)),,FORCE)

, := ,
quote = '$(subst ','\'',$1)'

# $(call stage,X,artifacts it is made from,command without --out)
define stage
$1: $2 $(call differs,$1,$3) | tools lock
	@mkdir -p $$(@D) && rm -f $$@.flags
	$$(RUN) $(BIN)/$(strip $3) --out $$@
	@printf '%s' $(call quote,$(strip $3)) >$$@.flags.part && mv $$@.flags.part $$@.flags
.PRECIOUS: $1
endef

# --- pictures: of each folder the names, sizes and times, so that a picture that changes is seen
ifeq ($(DATA),)
SPLITS := $(addprefix $(OUT)/photos/,training validation testing)
$(SPLITS): $(OUT)/photos/unpacked
	@touch $@
$(OUT)/photos/unpacked: samples/pictures.tar.gz | lock
	@mkdir -p $(@D)
	tar -xzf $< -C $(@D)
	@touch $@
folder = $(PHOTOS)/$1
else
seen = $(strip $(shell (ls -lnRL --time-style=full-iso $(DATA)/$1 || ls -lnRLT $(DATA)/$1) 2>/dev/null | cksum))
folder = $(OUT)/$1.folder
# $(call watched,split,what is seen in it): written only where it differs, so that make -n tells the truth.
define watched
$(OUT)/$1.folder: $(if $(findstring x$2x,x$(strip $(file <$(OUT)/$1.folder))x),,FORCE) | lock
	@mkdir -p $$(@D) && printf '%s' '$2' >$$@
endef
$(foreach split,training validation testing,$(eval $(call watched,$(split),$(call seen,$(split)))))
endif
# A teacher from elsewhere and the pictures must agree; the course's teachers saw the middle of each picture.
FIT := $(if $(TEACHER_FILE),$(if $(findstring --fit,$(PREPARE)),,--fit center))
# A recipe without names calls classes by number.
NAMED = $(if $(strip $(CLASSES)),--classes $(CLASSES))
$(foreach split,training validation,$(eval $(call stage,$(OUT)/$(split).safetensors,\
  $(call folder,$(split)),prepare images $(PHOTOS)/$(split) $(PREPARE) $(FIT) $(NAMED))))

# --- teacher and its logits
ON_DEVICE := $(if $(DEVICE),--device $(DEVICE))
TRAIN_ON := --images $(OUT)/training.safetensors --validation $(OUT)/validation.safetensors $(ON_DEVICE)
PICTURES := $(OUT)/training.safetensors $(OUT)/validation.safetensors
ifeq ($(TEACHER_FILE),)
$(eval $(call stage,$(OUT)/teacher.safetensors,$(PICTURES),train --reuse $(TRAIN_ON) $(TEACHER)))
else
$(eval $(call stage,$(OUT)/teacher.safetensors,$(TEACHER_FILE),\
  prepare model $(TEACHER_FILE) $(PREPARE) $(FIT) $(NAMED)))
endif
$(eval $(call stage,$(OUT)/logits.safetensors,$(OUT)/teacher.safetensors $(OUT)/training.safetensors,\
  infer logits --reuse --teacher $(OUT)/teacher.safetensors --images $(OUT)/training.safetensors $(ON_DEVICE) $(LOGITS)))

# --- student, then (cut, tune) x PRUNE_STEPS
DISTILL := distill --reuse $(TRAIN_ON) --logits $(OUT)/logits.safetensors
$(eval $(call stage,$(OUT)/student.safetensors,$(PICTURES) $(OUT)/logits.safetensors,$(DISTILL) $(STUDENT)))
before = $(if $(filter 1,$1),student,tuned$(shell expr $1 - 1))
$(foreach k,$(STEPS),$(eval $(call stage,$(OUT)/cut$k.safetensors,\
  $(OUT)/$(call before,$k).safetensors $(OUT)/training.safetensors,\
  prune $(PRUNE) --model $(OUT)/$(call before,$k).safetensors --images $(OUT)/training.safetensors $(ON_DEVICE))))
$(foreach k,$(STEPS),$(eval $(call stage,$(OUT)/tuned$k.safetensors,\
  $(OUT)/cut$k.safetensors $(PICTURES) $(OUT)/logits.safetensors,\
  $(DISTILL) --init $(OUT)/cut$k.safetensors $(TUNE))))

# --- the file that ships: planned for the budget and trained for the plan, or packed by QUANTIZE
ifeq ($(QUANTIZE),)
$(eval $(call stage,$(OUT)/plan.safetensors,$(OUT)/$(LAST).safetensors $(OUT)/validation.safetensors,\
  quantize plan --reuse --model $(OUT)/$(LAST).safetensors --images $(OUT)/validation.safetensors \
  --budget $(BUDGET) $(ON_DEVICE) $(PLAN)))
$(eval $(call stage,$(OUT)/quantized.safetensors,\
  $(OUT)/plan.safetensors $(OUT)/$(LAST).safetensors $(PICTURES) $(OUT)/logits.safetensors,\
  $(DISTILL) --init $(OUT)/$(LAST).safetensors --quant $(OUT)/plan.safetensors $(QUANT)))
READY := quantized
else
READY := $(LAST)
endif
$(eval $(call stage,$(OUT)/model.bin,$(OUT)/$(READY).safetensors,\
  quantize pack --model $(OUT)/$(READY).safetensors $(if $(findstring --budget,$(QUANTIZE)),,--budget $(BUDGET)) $(QUANTIZE)))

# --- what it is worth: a row, and beside it the answers
# $(call measure,row,artifact)
measure = $(call stage,$(OUT)/eval/$1.csv,$(OUT)/$2 $(OUT)/validation.safetensors \
  $(if $(wildcard $(OUT)/eval/$1.answers.safetensors),,FORCE),\
  infer eval --model $(OUT)/$2 --images $(OUT)/validation.safetensors $(ON_DEVICE) --name "$1")
$(eval $(call measure,teacher,teacher.safetensors))
$(eval $(call measure,student,student.safetensors))
$(eval $(call measure,pruned,$(LAST).safetensors))
$(eval $(call measure,shipped,model.bin))
ROWS := $(foreach row,teacher student $(if $(STEPS),pruned) shipped,$(OUT)/eval/$(row).csv)

page: $(OUT)/page.html ## a web page with the shipped file inside, which classifies pictures
$(OUT)/page.html: $(OUT)/model.bin target/page.wasm | tools lock
	$(RUN) $(BIN)/report page --model $< --examples $(PHOTOS)/validation --out $@
target/page.wasm: FORCE
	tools/wasm/build.sh $@

include report/questions.mk
report: experiments typeset ## the assignment's four questions and more: OUT/report/report.pdf, .html and data/*.csv
	$(RUN) $(BIN)/report tables $(OUT) --out $(OUT)/report/data
	$(RUN) $(BIN)/typeset --data $(OUT)/report/data --out $(OUT)/report --lang $(LANG_REPORT) --recipe $(RECIPE)
typeset: tools
	@[ -e $(BIN)/typeset ] || echo "what typesets the report is compiled: about 3 minutes on 2 cores"
	cargo build --release -p typeset
experiments: settled announce $(OUT)/table.txt $(EVALS) ## what the report is about, without the report

$(OUT)/table.txt: $(ROWS) | tools lock
	$(RUN) $(BIN)/report table $(ROWS) --out $@

$(eval $(call stage,$(OUT)/prediction.csv,$(OUT)/model.bin $(call folder,testing),\
  infer predict --model $(OUT)/model.bin --photos $(PHOTOS)/testing $(ON_DEVICE)))

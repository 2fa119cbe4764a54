# From pictures to a model file of at most 300,000 bytes. `make help` lists what there is.
#
# Every artifact is a file in $(OUT); beside artifact X lies X.flags, the command that made it, removed
# before a stage runs and written after it. A command that differs from its .flags makes X again, and
# everything made from X; `make -n` tells in advance. Rebuilding the tools throws no training away; nor
# does a lost or doubtful .flags: what takes long is called with --reuse and keeps an artifact that says
# itself that this command made it from these files.
#
# To add a stage: write it as a program from files to one file (--out), then give it three lines as `student`
# has below: its command without --out, what it is made from, and $(stage); and a word in .PRECIOUS. Later
# stages name the artifact as theirs. Its flags get a variable of their own in every recipe.

# Older ones read every .flags as empty, and make everything again every time.
ifneq ($(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)),)
$(error GNU make 4.2 or newer is needed, this is $(MAKE_VERSION): on macOS, brew install make and then gmake)
endif

# The recipe: recipes/$(RECIPE).mk holds the flags of every stage; auto is written for the pictures and this
# machine. Default: smoke (built-in pictures, minutes on a CPU); with DATA given: auto.
RECIPE ?= $(if $(DATA),auto,smoke)
# Pictures: a folder with a folder for each class, with or without training/, validation/ and testing/ around
# them; or pictures named [class]_[anything].jpg; or a CSV of files and labels. Default: the built-in pictures.
DATA ?=
# How long everything may take on this machine, hours: what recipe auto goes by, with one teacher. More of them (FOLDS,
# TEACHERS) take longer by as much as they take to train: give fewer hours then.
HOURS ?= 1
# Where artifacts go; of recipe auto a folder for each DATA.
OUT ?= artifacts/$(if $(filter auto,$(RECIPE)),$(patsubst %.csv,%,$(notdir $(abspath $(DATA)))),$(RECIPE))
# Put before every stage command, e.g. RUN="nice" or RUN="/usr/bin/time -v".
RUN ?=
# A teacher from elsewhere (a PyTorch file, see prepare model --help), instead of training one.
TEACHER_FILE ?=
# Weights from elsewhere that the teacher goes on from, with a new last layer for other classes (train --init);
# recipe auto is written for them, and makes this teacher itself smaller. INIT_FLAGS: how they must be read
# (prepare model --help), and the pictures be prepared: the middle of each, turned as cameras say.
INIT ?=
INIT_FLAGS ?= --fit crop --exif
# How many teachers answer together: TEACHERS=3 trains the recipe's with the seeds 1 to 3, and the student follows the
# mean of their logits. FOLDS=5 trains five instead, each without a fifth of the pictures, and each answers those that
# it has not seen: by it make suspects finds wrong labels, and no teacher hands on what it has learnt by heart. (Teachers of
# fewer pictures know less: of 1,000, three folds cost the student more than that brought.)
# Either takes as much time as so many teachers. seed-1.safetensors, fold-1-of-5.safetensors and so on are kept as
# teacher.safetensors is, and other FOLDS or TEACHERS leave them alone.
TEACHERS ?=
FOLDS ?=
# Flags of prepare catalogue, such as --unreadable 0.2.
CATALOGUE_FLAGS ?=
# Largest size of the shipped file, bytes.
BUDGET ?= 300000
# Views of a picture whose mean answers (quantize pack --views): VIEWS=flip,zoom=8.
VIEWS ?=
# Where networks run: cpu, cuda, cuda:N, candle or auto. Default: cpu.
DEVICE ?=
# cuda: build the stages with CUDA (README, "On a GPU").
FEATURES ?=
# Threads per stage. Default: all cores. Results do not depend on it, so it is no flag.
THREADS ?=

# A Python with onnxruntime, for check-everywhere.
PYTHON ?= python3

# Where the recipe's finished file is copied; empty: nowhere but $(OUT). Recipes that are a hand-in set it.
HAND_IN ?=
# yes: the pictures to predict have labels, and the table gets a row about them. Recipe auto knows.
TESTED ?=
# Their labels, where their names have none: a CSV file with the columns Id,label. Nothing is trained or chosen by them.
TEST_LABELS ?=

# What make or a shell would take for something else than a part of a name.
hash := \#
comma := ,
SPECIAL := ( ) & ; | < > * ? [ ] ' " ` \ $$ : % ! = $(hash)
PATHS := DATA OUT TEACHER_FILE TEACHER_B INIT HAND_IN TEST_LABELS
# Some shells leave a ~ to make, and within quotes none looks at it.
$(foreach path,$(PATHS),$(if $(filter ~/%,$($(path))),$(eval override $(path) := $($(path):~/%=$(HOME)/%))))
# $(call odd,variable): what of that its value has in it, if it is the user's.
odd = $(if $(filter command environment override,$(origin $1)),$(strip $(if $(word 2,$(value $1)),spaces) \
  $(foreach character,$(SPECIAL),$(findstring $(character),$(value $1)))))
$(foreach path,$(PATHS),$(if $(call odd,$(path)),$(error $(path) must not contain $(call odd,$(path)): make a \
  symbolic link to it with a plain name)))
SPLITS := training validation testing
ifneq ($(DATA),)
$(if $(wildcard $(DATA)),,$(error DATA=$(DATA): there is no such folder or file))
# Three folders of nothing but pictures, as the homework has them, need no catalogue.
has_three := $(filter 3,$(words $(foreach split,$(SPLITS),$(wildcard $(DATA)/$(split)/.))))
IS_PLAIN := $(if $(has_three),$(if $(wildcard $(SPLITS:%=$(DATA)/%/*/.)),,yes))
CATALOGUE := $(if $(filter auto,$(RECIPE))$(if $(IS_PLAIN),,no),$(OUT)/catalogue.csv)
# Nothing of another folder is overwritten because it is called alike.
OTHER := $(if $(CATALOGUE),$(filter-out $(abspath $(DATA)),$(if $(wildcard $(OUT)/data.path),$(file <$(OUT)/data.path))))
$(if $(OTHER),$(error $(OUT) was made of $(OTHER): give OUT= for $(DATA), or remove $(OUT)/data.path if that was moved))
EMPTY := $(if $(IS_PLAIN),$(strip $(foreach split,$(SPLITS),$(if $(wildcard $(DATA)/$(split)/*),,$(split)))))
ifneq ($(EMPTY),)
$(error DATA=$(DATA): nothing in the folder $(EMPTY); all three need pictures)
endif
endif
PRUNE_STEPS ?= 0
# Goals that make nothing of pictures need no recipe.
IDLE := help tools check test faults lock clean
ifneq ($(RECIPE),auto)
ifeq ($(wildcard recipes/$(RECIPE).mk),)
$(error no recipe "$(RECIPE)": there are auto $(basename $(notdir $(wildcard recipes/*.mk))))
endif
include recipes/$(RECIPE).mk
else
$(if $(DATA),,$(error RECIPE=auto is written for pictures: give DATA=))
ifneq ($(filter-out $(IDLE),$(MAKECMDGOALS)),)
include $(OUT)/recipe.mk
endif
endif
ifneq ($(TEST_LABELS),)
$(if $(CATALOGUE),$(error TEST_LABELS: $(CATALOGUE) says what each picture is: label those of its split testing in $(DATA)))
TESTED := yes
endif
ifneq ($(INIT),)
$(if $(TEACHER_FILE),$(error INIT and TEACHER_FILE: a teacher either goes on from weights or is there already))
# Recipe auto may still be the one without INIT, and is written anew then.
$(if $(filter auto,$(RECIPE)),,$(if $(findstring --arch,$(TEACHER)),$(error INIT: TEACHER has --arch, and the network \
  is that of the weights: take it out, or leave RECIPE= to auto)))
endif

$(if $(and $(FOLDS),$(TEACHERS)),$(error FOLDS and TEACHERS: teachers either differ in what they see \
  or in their seeds: give one of them))
MANY := $(strip $(FOLDS)$(TEACHERS))
$(if $(and $(MANY),$(TEACHER_FILE)),$(error TEACHER_FILE and $(if $(FOLDS),FOLDS,TEACHERS): a teacher that is there \
  already is not trained; leave one of them out))
ifneq ($(MANY),)
# Recipe auto has a student but for the weights of INIT, and may not be written yet; labels are doubted without one.
HAS_NO_STUDENT := $(if $(strip $(STUDENT)),,$(if $(filter auto,$(RECIPE)),$(and $(INIT),$(wildcard $(OUT)/recipe.mk)),yes))
$(if $(and $(HAS_NO_STUDENT),$(filter-out suspects $(IDLE),$(MAKECMDGOALS))),$(error without STUDENT one teacher is \
  made smaller: leave $(if $(FOLDS),FOLDS,TEACHERS) out))
# As text: for a shell 2.9 or 1e1 are numbers, too.
$(if $(and $(filter 1,$(words $(MANY))),$(filter $(shell seq 2 100),$(MANY))),,$(error \
  $(if $(FOLDS),FOLDS,TEACHERS)=$(MANY): expected a whole number, 2 to 100))
# What the report compares with the teacher it takes to be a student of that one.
$(if $(filter report experiments,$(MAKECMDGOALS)),$(error FOLDS and TEACHERS are not for the report, which is about one \
  teacher: leave $(if $(FOLDS),FOLDS,TEACHERS) out))
NUMBERS := $(shell seq 1 $(MANY))
SEVERAL := $(NUMBERS:%=$(if $(FOLDS),fold-%-of-$(MANY),seed-%))
endif
# Who answers for the student.
TAUGHT_BY := $(if $(MANY),$(SEVERAL),teacher)
# The usual teacher is trained for hours, and has seen what it shall judge.
ifneq ($(filter suspects,$(MAKECMDGOALS)),)
$(if $(MANY)$(TEACHER_FILE)$(wildcard $(OUT)/teacher.safetensors)$(filter submission,$(MAKECMDGOALS)),,$(error suspects: \
  give FOLDS=5, the number of teachers that are trained for it, each without the pictures that it judges; there is no \
  $(OUT)/teacher.safetensors to ask either, which would find fewer))
endif

BIN := target/release
WITH := $(if $(FEATURES),-p common --features $(FEATURES:%=common/%))
STAGES := prepare train distill prune quantize infer report
PHOTOS := $(if $(DATA),$(DATA),$(OUT)/photos)
export RAYON_NUM_THREADS := $(THREADS)
ON_DEVICE := $(if $(DEVICE),--device $(DEVICE))
PRETRAINED := $(OUT)/pretrained.safetensors

.PHONY: help submission page suspects check-everywhere report typeset experiments settled announce check test faults tools lock clean FORCE
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t18
	@echo 'recipes: auto $(basename $(notdir $(wildcard recipes/*.mk)))'

# The file that ships is read once more: its sum must be right, and the table's row must be about it.
submission: announce $(OUT)/table.txt $(OUT)/prediction.csv ## train, compress, pack, measure, predict
	@hash=$$($(BIN)/report show '$(OUT)/model.bin' | awk '$$1 == "hash" { print $$2 }') && [ -n "$$hash" ] && \
	  { grep -q "$$hash" '$(OUT)/eval/shipped.csv' || { echo "error: $(OUT)/eval/shipped.csv is about another \
	  file than $(OUT)/model.bin: remove it" >&2; false; }; }
	@cat '$(OUT)/table.txt'
	@$(if $(HAND_IN),cmp -s '$(OUT)/model.bin' '$(HAND_IN)' || \
	  { cp '$(OUT)/model.bin' '$(HAND_IN).part' && mv '$(HAND_IN).part' '$(HAND_IN)'; })
	@echo "shipped file  $(OUT)/model.bin$(if $(HAND_IN),$(comma) copied to $(HAND_IN))"
	@echo "predictions   $(OUT)/prediction.csv"

# Before anything is made: how long it will take.
announce:
	@$(if $(wildcard $(OUT)/table.txt),:,echo "recipe $(RECIPE)$(if $(TAKES),: $(TAKES))$(if $(MANY), (and longer for $(MANY) teachers instead of one))")
	@$(if $(wildcard $(BIN)/report),:,echo "first the tools are compiled: about 3 minutes on 2 cores")

# Whether a process runs: it is there, and, where the system tells, it is a make and not a dead one.
runs = { kill -0 $1 2>/dev/null && { [ ! -e /proc/$1/status ] || \
  { grep -q '^Name:.*make' /proc/$1/status && ! grep -q '^State:.*Z' /proc/$1/status; }; }; }

# One make at a time in $(OUT): a link to the number of its process, which the next takes over if that
# process has ended. Two with other flags would mix their artifacts.
lock:
	@mkdir -p '$(OUT)' && me=$$PPID@$$(uname -n) && for try in 1 2 3; do \
	  ln -s "$$me" '$(OUT)/.make' 2>/dev/null && exit 0; \
	  owner=$$(readlink '$(OUT)/.make') || continue; \
	  [ "$$owner" = "$$me" ] && exit 0; \
	  if [ "$${owner#*@}" != "$$(uname -n)" ] || $(call runs,$${owner%@*}); then \
	    echo "error: another make works in $(OUT) (process $$owner): wait for it, or give OUT=; if it has \
	ended, remove $(OUT)/.make" >&2; exit 1; fi; \
	  rm -f '$(OUT)/.make'; done; echo "error: cannot lock $(OUT)" >&2; exit 1

tools: | announce ## build the stages
	cargo build --release $(STAGES:%=-p %) $(WITH)

# Where checks that cannot be made here leave a line.
export SKIPPED := $(CURDIR)/target/skipped

check: ## formatting, lints, unit tests: before every commit
	cargo fmt --check
	cargo clippy --release --workspace --exclude typeset --all-targets -- -D warnings
	cargo test --release --workspace --exclude typeset --lib --bins
	cargo test --release -p common --test house
	python3 tests/licences.py

test: ## all tests: units, kernels, the pipeline on the built-in pictures
	@mkdir -p target && rm -f '$(SKIPPED)'
	python3 tests/licences.py
	cargo test --release --workspace --exclude typeset
	tests/pipeline.sh
	tests/report.sh
	tests/make.sh
	tests/suspects.sh
	tests/folders.sh
	tests/interrupts.sh
	tests/faults.sh
	tests/foreign.sh
	@if [ -s '$(SKIPPED)' ]; then echo "checks skipped: $$(sort -u '$(SKIPPED)' | wc -l)"; \
	  sort -u '$(SKIPPED)' | sed 's/^/  /'; else echo "checks skipped: 0"; fi

faults: tools ## a failing disk at every call of every stage, memory errors in the kernels
	tests/faults.sh all
	tests/memory.sh

clean: ## remove the artifacts of this recipe
	rm -rf '$(OUT)'

# --- what a stage is. Its artifact's `command` and, at the end of what it is made from, $$(changed), which
# make expands a second time, when it knows the artifact.
.SECONDEXPANSION:
equal = $(and $(findstring x$1x,x$2x),$(findstring x$2x,x$1x))
# $(call unlike,text,file): FORCE if the file holds another text.
unlike = $(if $(call equal,$(strip $1),$(file <$2)),,FORCE)
changed = $(call unlike,$(command),$@.flags)
quote = '$(subst ','\'',$1)'
define stage
@mkdir -p '$(@D)' && rm -f '$@.flags'
$(RUN) $(BIN)/$(strip $(command)) --out '$@'
@printf '%s' $(call quote,$(strip $(command))) >'$@.flags.part' && mv '$@.flags.part' '$@.flags'
endef

# --- pictures: of each folder the names, sizes and times, so that a picture that changes is seen
from = $(PHOTOS)/$1
ifeq ($(DATA),)
FOLDER := $(OUT)/photos/%
$(SPLITS:%=$(OUT)/photos/%): $(OUT)/photos/unpacked
	@touch '$@'
$(OUT)/photos/unpacked: samples/pictures.tar.gz | lock
	@mkdir -p '$(@D)'
	tar -xzf $< -C '$(@D)'
	@touch '$@'
else
seen = $(strip $(shell (ls -lnRL --time-style=full-iso '$(DATA)/$*' || ls -lnRLT '$(DATA)/$*') 2>/dev/null | cksum))
FOLDER := $(OUT)/%.folder
# Written only where it differs, so that make -n tells the truth.
$(patsubst %,$(FOLDER),$(SPLITS) data): $(FOLDER): $$(call unlike,$$(seen),$$@) | lock
	@mkdir -p '$(@D)' && printf '%s' '$(seen)' >'$@'
endif
ifneq ($(CATALOGUE),)
# Every file below, of a table of files below the folder that it lies in; but not what make itself writes there.
BELOW := $(abspath $(if $(wildcard $(DATA)/.),$(DATA),$(dir $(DATA))))
OURS := $(foreach folder,$(abspath $(OUT) artifacts target),-path '$(folder)' -prune -o)
listed = find -L '$(BELOW)' $(OURS) -type f -exec ls -lnL $1 {} + 2>/dev/null | sort
$(OUT)/data.folder: seen = $(strip $(shell (ls --time-style=full-iso / >/dev/null 2>&1 && \
  $(call listed,--time-style=full-iso) || $(call listed,-T)) | cksum))
FOLDER := $(CATALOGUE)
from = $(DATA) --catalogue $(CATALOGUE) --split $1
$(CATALOGUE): command = prepare catalogue $(DATA) $(NAMED) $(CATALOGUE_FLAGS)
$(CATALOGUE): $(OUT)/data.folder $$(changed) | tools lock
	@printf '%s' '$(abspath $(DATA))' >'$(OUT)/data.path'
	$(stage)

# An included makefile: make writes it before all else, under -n, too. With --reuse a recipe for the same pictures
# and hours stays as it is, though measuring again would bring another.
$(OUT)/recipe.mk: command = prepare recipe $(DATA) --reuse --catalogue $(CATALOGUE) --hours $(HOURS) --budget $(BUDGET) \
  $(if $(INIT),--init $(PRETRAINED)) $(ON_DEVICE)
$(OUT)/recipe.mk: $(CATALOGUE) $(if $(INIT),$(PRETRAINED)) $$(changed) | tools lock
	$(stage)
endif
# A teacher from elsewhere and the pictures must agree; the course's teachers saw the middle of each picture.
FIT := $(if $(TEACHER_FILE),$(if $(findstring --fit,$(PREPARE)),,--fit center))
# A recipe without names calls classes by number.
NAMED = $(if $(strip $(CLASSES)),--classes $(CLASSES))
TRAINING := $(OUT)/training.safetensors
VALIDATION := $(OUT)/validation.safetensors
TESTING := $(OUT)/testing.safetensors
PICTURES := $(TRAINING) $(VALIDATION)

$(PICTURES) $(TESTING): command = prepare images $(call from,$*) $(PREPARE) $(FIT) $(if $(CATALOGUE),,$(NAMED)) \
  $(if $(filter testing,$*),$(TEST_LABELS:%=--labels %))
$(PICTURES) $(TESTING): $(OUT)/%.safetensors: $(FOLDER) $$(changed) | tools lock
	$(stage)
$(TESTING): $(TEST_LABELS)

# --- teacher and its logits
$(PRETRAINED): command = prepare model $(INIT) $(INIT_FLAGS)
$(PRETRAINED): $(INIT) $$(changed) | tools lock
	$(stage)

TRAIN_ON := --images $(TRAINING) --validation $(VALIDATION) $(ON_DEVICE)
ifeq ($(TEACHER_FILE),)
$(OUT)/teacher.safetensors: command = train --reuse $(TRAIN_ON) $(if $(INIT),--init $(PRETRAINED)) $(TEACHER)
$(OUT)/teacher.safetensors: $(PICTURES) $(if $(INIT),$(PRETRAINED)) $$(changed) | tools lock
	$(stage)
else
$(OUT)/teacher.safetensors: command = prepare model $(TEACHER_FILE) $(PREPARE) $(FIT) $(NAMED)
$(OUT)/teacher.safetensors: $(TEACHER_FILE) $$(changed) | tools lock
	$(stage)
endif

# Of several each is that one but for its seed, or for the fold that it does not see.
$(OUT)/seed-%.safetensors $(OUT)/fold-%.safetensors: command = train --reuse $(TRAIN_ON) \
  $(if $(INIT),--init $(PRETRAINED)) $(if $(FOLDS),$(TEACHER) --fold $(subst -of-,/,$*),$(call seeded,$(TEACHER),$*))
$(SEVERAL:%=$(OUT)/%.safetensors): $(OUT)/$(if $(FOLDS),fold,seed)-%.safetensors: $(PICTURES) $(if $(INIT),$(PRETRAINED)) \
  $$(changed) | tools lock
	$(stage)

# $(call ask,teachers): their answers to the training pictures; $(call logits,teachers): in the recipe's views.
ask = infer logits --reuse $(foreach one,$1,--teacher $(OUT)/$(one).safetensors) --images $(TRAINING) $(ON_DEVICE)
logits = $(call ask,$1) $(LOGITS)
$(OUT)/logits.safetensors: command = $(call logits,$(TAUGHT_BY))
$(OUT)/logits.safetensors: $(TAUGHT_BY:%=$(OUT)/%.safetensors) $(TRAINING) $$(changed) | tools lock
	$(stage)

# Which labels they doubt, by the pictures as they are.
$(OUT)/suspects/logits.safetensors: command = $(call ask,$(TAUGHT_BY))
$(OUT)/suspects/logits.safetensors: $(TAUGHT_BY:%=$(OUT)/%.safetensors) $(TRAINING) $$(changed) | tools lock
	$(stage)

# --- student, then (cut, tune) x PRUNE_STEPS; a recipe without STUDENT makes the teacher itself smaller
FIRST := $(if $(strip $(STUDENT)),student,teacher)
DISTILL := distill --reuse $(TRAIN_ON) --logits $(OUT)/logits.safetensors
$(OUT)/student.safetensors: command = $(DISTILL) $(STUDENT)
$(OUT)/student.safetensors: $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

STEPS := $(shell seq 1 $(PRUNE_STEPS))
STUDENTS := $(OUT)/$(FIRST).safetensors $(STEPS:%=$(OUT)/tuned%.safetensors)
LAST := $(lastword $(STUDENTS))
# $(call cut,how,model): without some of its channels, or of low rank.
cut = prune $1 --model $2 --images $(TRAINING) $(ON_DEVICE)
$(OUT)/cut%.safetensors: command = $(call cut,$(PRUNE),$(word $*,$(STUDENTS)))
$(STEPS:%=$(OUT)/cut%.safetensors): $(OUT)/cut%.safetensors: $$(word $$*,$(STUDENTS)) $(TRAINING) \
  $$(changed) | tools lock
	$(stage)

$(OUT)/tuned%.safetensors: command = $(DISTILL) --init $(OUT)/cut$*.safetensors $(TUNE)
$(STEPS:%=$(OUT)/tuned%.safetensors): $(OUT)/tuned%.safetensors: $(OUT)/cut%.safetensors $(PICTURES) \
  $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)

# --- the file that ships: planned for the budget, and trained for the plan if the recipe has QUANT; or packed by QUANTIZE
# What quantize pack --calibrate adds at most stays free, and what --views does.
PLANNED := $(shell expr $(BUDGET) - 136 $(if $(VIEWS),- 64))
READY := $(LAST)
PLAN_FILE :=
ifeq ($(QUANTIZE),)
PLAN_FILE := $(OUT)/plan.safetensors
$(PLAN_FILE): command = quantize plan --reuse --model $(LAST) --images $(TRAINING) \
  --budget $(PLANNED) $(ON_DEVICE) $(PLAN)
$(PLAN_FILE): $(LAST) $(TRAINING) $$(changed) | tools lock
	$(stage)

ifneq ($(strip $(QUANT)),)
READY := $(OUT)/quantized.safetensors
$(READY): command = $(DISTILL) --init $(LAST) --quant $(PLAN_FILE) $(QUANT)
$(READY): $(PLAN_FILE) $(LAST) $(PICTURES) $(OUT)/logits.safetensors $$(changed) | tools lock
	$(stage)
endif
endif
# What was planned and not trained is packed as the plan has it.
AS_PLANNED := $(if $(filter $(LAST),$(READY)),$(PLAN_FILE))

$(OUT)/model.bin: command = quantize pack --model $(READY) $(AS_PLANNED:%=--plan %) --calibrate $(VALIDATION) \
  $(if $(findstring --budget,$(QUANTIZE)),,--budget $(BUDGET)) $(if $(VIEWS),--views $(VIEWS)) $(QUANTIZE)
$(OUT)/model.bin: $(READY) $(AS_PLANNED) $(VALIDATION) $$(changed) | tools lock
	$(stage)

$(OUT)/prediction.csv: command = infer predict --model $(OUT)/model.bin --photos $(call from,testing) $(ON_DEVICE)
$(OUT)/prediction.csv: $(OUT)/model.bin $(patsubst %,$(FOLDER),testing) $$(changed) | tools lock
	$(stage)

include report/questions.mk

# --- what each model is worth: a row, and beside it the answers
TABLE := $(foreach row,$(TAUGHT_BY) $(filter student,$(FIRST)) $(if $(STEPS),pruned) shipped,$(OUT)/eval/$(row).csv) \
  $(if $(TESTED),$(OUT)/test/shipped.csv)
NAMES := teacher $(SEVERAL) student pruned shipped $(EXPERIMENTS)
ROWS := $(NAMES:%=$(OUT)/eval/%.csv)
TESTS := $(NAMES:%=$(OUT)/test/%.csv)
model = $(OUT)/$*.safetensors
$(OUT)/eval/pruned.csv $(OUT)/test/pruned.csv: model = $(LAST)
$(OUT)/eval/shipped.csv $(OUT)/test/shipped.csv: model = $(OUT)/model.bin
unanswered = $(if $(wildcard $(@:.csv=.answers.safetensors)),,FORCE)
$(ROWS): command = infer eval --model $(model) --images $(VALIDATION) $(ON_DEVICE) --name "$*"
$(ROWS): $(OUT)/eval/%.csv: $$(model) $(VALIDATION) $$(changed) $$(unanswered) | tools lock
	$(stage)

# On pictures that neither trained nor chose anything.
$(TESTS): command = infer eval --model $(model) --images $(TESTING) $(ON_DEVICE) --name "$*, test"
$(TESTS): $(OUT)/test/%.csv: $$(model) $(TESTING) $$(changed) $$(unanswered) | tools lock
	$(stage)

$(OUT)/table.txt: $(TABLE) | tools lock
	$(RUN) $(BIN)/report table $(TABLE) --out '$@'

# A stage that has ended is not undone by what stops make right then.
.PRECIOUS: $(PICTURES) $(TESTING) $(CATALOGUE) $(PRETRAINED) $(STUDENTS) $(STEPS:%=$(OUT)/cut%.safetensors) $(READY) $(ROWS) $(TESTS) \
  $(SEVERAL:%=$(OUT)/%.safetensors) \
  $(addprefix $(OUT)/,teacher.safetensors suspects/logits.safetensors logits.safetensors plan.safetensors model.bin prediction.csv)

# --- what is made of them
check-everywhere: $(OUT)/model.bin | tools ## the shipped file's logits in engine, candle, onnxruntime (PYTHON=) and page, beside each other
	$(RUN) $(BIN)/infer check --model '$<' --photos $(call from,testing) --onnx-python $(PYTHON) --page target/page.wasm
suspects: $(OUT)/suspects/logits.safetensors | tools ## with FOLDS=5: the training pictures that are probably labelled wrongly, CSV and HTML
	$(RUN) $(BIN)/report suspects --images '$(TRAINING)' --logits '$<' --csv '$(OUT)/suspects/suspects.csv' \
	  --html '$(OUT)/suspects/suspects.html'
page: $(OUT)/page.html ## a web page with the shipped file inside, which classifies pictures
$(OUT)/page.html: $(OUT)/model.bin target/page.wasm | tools lock
	$(RUN) $(BIN)/report page --model '$<' --examples $(call from,validation) --out '$@'
target/page.wasm: FORCE
	tools/wasm/build.sh $@

# Every model of the report on the test pictures, where these have labels.
TESTED_TOO := $(if $(TESTED),$(TABLE:$(OUT)/eval/%=$(OUT)/test/%) $(EXPERIMENTS:%=$(OUT)/test/%.csv))
report: experiments typeset ## the assignment's four questions and more: OUT/report/report.pdf, .html and data/*.csv
	$(RUN) $(BIN)/report gather '$(OUT)' --out '$(OUT)/report/data'
	$(RUN) $(BIN)/typeset --data '$(OUT)/report/data' --out '$(OUT)/report' --lang $(LANG_REPORT) --recipe $(RECIPE)
typeset: tools
	@[ -e $(BIN)/typeset ] || echo "what typesets the report is compiled: about 3 minutes on 2 cores"
	cargo build --release -p typeset
experiments: settled announce $(OUT)/table.txt $(OUT)/eval/teacher.csv $(EXPERIMENTS:%=$(OUT)/eval/%.csv) $(TESTED_TOO) ## what the report is about, without the report

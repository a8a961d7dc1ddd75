# Millpond. The usual targets: make, make run, make test, make lint, make install.
# Variables: CC=gcc|clang  SAN=address|undefined|address+undefined|thread  ALLOC=jemalloc|libc  PGO=yes  PREFIX= DESTDIR=
#            CONFIG=file.ini
# Everything that is built goes below build/, one folder per compiler and sanitizer.

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

ifeq ($(origin CC),default)
CC := gcc
endif
SAN     ?=
PGO     ?= no
ALLOC   ?= $(if $(SAN),libc,jemalloc)
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := $(shell cat VERSION)
BUILD   := build/$(notdir $(CC))$(if $(SAN),-$(SAN))$(if $(filter-out no,$(PGO)),-pgo)
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)

WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral \
        $(if $(SAN),-Wno-format-truncation) # gcc knows less of ranges between a sanitizer's checks
OPT  ?= $(if $(SAN),-O1,-O2) -g
HARD := -fPIE -fstack-protector-strong -fno-strict-aliasing $(if $(SAN),,-D_FORTIFY_SOURCE=2)
DEFS := -D_GNU_SOURCE -DMILLPOND_VERSION='"$(VERSION)"' -I.
LINK := -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack
LIBS := -levent_core -levent_extra -levent_pthreads -levent_openssl -lssl -lcrypto -lnghttp2 -lhiredis -lurcu -lxxhash -lbrotlienc -lz -lzstd -ljansson -linih -lcrypt -lpthread -lm

ifeq ($(SAN),address)
SANFLAGS := -fsanitize=address -fno-omit-frame-pointer
else ifeq ($(SAN),undefined)
SANFLAGS := -fsanitize=undefined -fno-sanitize-recover=undefined
else ifeq ($(SAN),address+undefined)
# Stack frames that AddressSanitizer moves to find uses after return are not aligned as their variables want.
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer \
            $(if $(findstring clang,$(CC)),,--param asan-use-after-return=0)
else ifeq ($(SAN),thread)
SANFLAGS := -fsanitize=thread
else ifneq ($(SAN),)
$(error SAN is address, undefined, address+undefined or thread)
endif
ifeq ($(ALLOC),jemalloc)
LIBS += -ljemalloc
DEFS += -DMILLPOND_JEMALLOC=1
endif

CFLAGS  ?=
LDFLAGS ?=
LTO     ?= $(if $(SAN)$(findstring clang,$(CC)),no,yes)

# PGO=yes: the program is built twice; the first one counts what it does with the requests of tests/budget, the second is
# optimised for that. What was never counted is optimised as ever.
PROFILE := $(abspath $(BUILD))/profile
ifeq ($(PGO),record)
PGO_CFLAGS := -fprofile-generate=$(PROFILE) -fprofile-update=atomic
else ifeq ($(PGO),yes)
PGO_CFLAGS := -fprofile-use=$(PROFILE) -fprofile-partial-training -Wno-missing-profile
else ifneq ($(PGO),no)
$(error PGO is yes or no)
endif
ifneq ($(if $(PGO_CFLAGS),$(LTO),yes),yes)
$(error PGO=yes is for gcc, with LTO and without SAN)
endif

ALL_CFLAGS  := -std=c17 $(OPT) $(WARN) $(HARD) $(SANFLAGS) $(DEFS) $(CFLAGS)
ALL_LDFLAGS := $(LINK) $(SANFLAGS) $(LDFLAGS)
# There are hundreds of test programs; they are linked in a third of the time where there is gold.
TEST_LDFLAGS := $(ALL_LDFLAGS) $(if $(shell command -v ld.gold 2>/dev/null),-fuse-ld=gold)

FOLDERS   := core config balancer cache admin proxy
SRC       := $(sort $(wildcard $(FOLDERS:=/*.c)))
OBJ       := $(SRC:%.c=$(BUILD)/%.o)
LIB       := $(BUILD)/libmillpond.a
BIN       := $(BUILD)/millpond
UNIT_SRC  := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_BIN  := $(UNIT_SRC:%.c=$(BUILD)/%)
SUPPORT   := $(sort $(wildcard tests/support/*.c))
SUPPORT_OBJ := $(SUPPORT:%.c=$(BUILD)/%.o)
E2E_SRC   := $(sort $(wildcard tests/e2e/*.c))
# These talk to a program from outside, so one build of them tests it with each sanitizer.
E2E_BUILD := build/$(notdir $(CC))
E2E_BIN   := $(E2E_SRC:%.c=$(E2E_BUILD)/%)
BUDGET_SRC := $(sort $(wildcard tests/budget/*.c))
BUDGET_BIN := $(BUDGET_SRC:%.c=$(BUILD)/%)
TRACE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/trace_sim.c,$(sort $(wildcard bench/trace/*.c))))
TRACE_BIN := $(BUILD)/bench/trace/trace_sim
FUZZ_SRC  := $(sort $(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all build run test suite unit e2e e2e-programs lint fuzz fuzz-replay budget budget-update install clean \
        deps deps-test format docs bench trace
all: build

# The first make on a fresh machine brings what the build needs; afterwards this is one stamp file.
DEPS_BUILD := build/.deps-build
DEPS_TEST  := build/.deps-test
DEPS_CONFORMANCE := build/.deps-conformance
$(DEPS_BUILD): packaging/install-deps
	@mkdir -p build && packaging/install-deps build && touch $@
$(DEPS_TEST): packaging/install-deps
	@mkdir -p build && packaging/install-deps build test && touch $@ $(DEPS_BUILD)
$(DEPS_CONFORMANCE): packaging/install-deps
	@mkdir -p build && packaging/install-deps build conformance && touch $@ $(DEPS_BUILD)
deps: $(DEPS_BUILD)
deps-test: $(DEPS_TEST)

build: $(DEPS_BUILD)
	@$(MAKE) --no-print-directory -j$(JOBS) $(BIN)

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/admin/page.o: admin/page.html admin/page.css admin/page.js # which it takes in

# A change of flags rebuilds; the file changes only when the flags do.
$(BUILD)/.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(subst ','\'',$(ALL_CFLAGS) $(PGO_CFLAGS) $(ALL_LDFLAGS) $(LIBS))' | cmp -s - $@ || \
	 echo '$(CC) $(subst ','\'',$(ALL_CFLAGS) $(PGO_CFLAGS) $(ALL_LDFLAGS) $(LIBS))' > $@
FORCE:

$(LIB): $(filter-out $(BUILD)/proxy/main.o,$(OBJ))
	@rm -f $@
	@ar rcs $@ $^

# The program is optimised as a whole, which saves 2 to 4% of what a request costs. Test programs are not: linking
# hundreds of them would take hours. Warnings are for compiling, where they do not depend on what is inlined; and files
# that the assembler takes in are no matter of the compiler's.
ifeq ($(LTO),yes)
BIN_OBJ := $(patsubst $(BUILD)/lto/admin/page.o,$(BUILD)/admin/page.o,$(SRC:%.c=$(BUILD)/lto/%.o))
$(BUILD)/lto/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) $(PGO_CFLAGS) -flto -MMD -MP -c $< -o $@
$(BIN): $(BIN_OBJ)
	@echo "  LINK  $@"
	@$(CC) $(ALL_CFLAGS) $(PGO_CFLAGS) -w -flto=$(JOBS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@
.PRECIOUS: $(BUILD)/lto/%.o
ifeq ($(PGO),yes)
# Both builds make the same objects, since gcc finds what was counted by their names.
TRAINED := $(BUILD)/.trained
$(TRAINED): $(SRC) $(wildcard $(FOLDERS:=/*.h)) tests/budget/run
	@rm -rf $(PROFILE)
	@+$(MAKE) --no-print-directory PGO=record $(BIN)
	@echo "  TRAIN $(BIN)"
	@MILLPOND=$(abspath $(BIN)) tests/budget/run --train
	@touch $@
$(BUILD)/.flags: | $(TRAINED)
endif
-include $(BIN_OBJ:.o=.d)
else
$(BIN): $(BUILD)/proxy/main.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) $< $(LIB) $(LIBS) -o $@
endif

# Programs whose allocations can be made to fail: tests/unit/proxy/no_memory.h.
NO_MEMORY_BIN := $(patsubst %,$(BUILD)/tests/unit/proxy/test_%,assets calm_page compress early_hints fetch_queue h1_client \
                              h1_server h2_call hedge mirror tunnel_client)
$(NO_MEMORY_BIN): WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@$(CC) $(TEST_LDFLAGS) $(WRAP) $(filter %.o,$^) $(LIB) -lcmocka -lbrotlidec $(LIBS) -o $@
$(BUILD)/tests/unit/cache/test_evict_ratio $(BUILD)/tests/unit/bench/test_trace: $(TRACE_OBJ)
$(filter $(BUILD)/tests/unit/core/test_redis% $(BUILD)/tests/unit/core/test_tls% \
    $(BUILD)/tests/unit/core/test_page_places $(BUILD)/tests/unit/core/test_dns_lookup \
    $(BUILD)/tests/unit/cache/test_remote% \
    $(BUILD)/tests/unit/cache/test_stream_link% $(BUILD)/tests/unit/cache/test_lease% \
    $(BUILD)/tests/unit/proxy/test_limit_shared%,$(UNIT_BIN)): $(SUPPORT_OBJ)

$(BUILD)/tests/e2e/%: $(BUILD)/tests/e2e/%.o $(SUPPORT_OBJ) $(LIB)
	@$(CC) $(TEST_LDFLAGS) $< $(SUPPORT_OBJ) $(LIB) -lcmocka -lbrotlidec $(LIBS) -o $@

$(BUILD)/tests/budget/%: $(BUILD)/tests/budget/%.o $(LIB)
	@$(CC) $(ALL_LDFLAGS) $< $(LIB) $(LIBS) -o $@

.PRECIOUS: $(BUILD)/%.o
-include $(OBJ:.o=.d) $(UNIT_BIN:=.d) $(E2E_BIN:=.d) $(SUPPORT_OBJ:.o=.d) $(BUDGET_BIN:=.d) $(TRACE_OBJ:.o=.d) $(TRACE_BIN:=.d)

# make run starts the demo; make run CONFIG=my.ini runs that configuration.
run: build
	@exec $(BIN) $(if $(CONFIG),run -c $(CONFIG),demo)

# All unit and end-to-end tests are one list: while some wait others compute.
RUN_TESTS = MILLPOND=$(abspath $(BIN)) BUILD=$(BUILD) SAN=$(SAN) tests/run
test: suite
	@$(MAKE) --no-print-directory budget
	@$(MAKE) --no-print-directory fuzz-replay

suite: e2e-programs
	@$(MAKE) --no-print-directory -j$(JOBS) $(BIN) $(UNIT_BIN)
	@$(RUN_TESTS) $(E2E_BIN) $(UNIT_BIN)

unit: $(DEPS_TEST)
	@$(MAKE) --no-print-directory -j$(JOBS) $(UNIT_BIN)
	@$(RUN_TESTS) $(UNIT_BIN)

e2e: e2e-programs
	@$(MAKE) --no-print-directory -j$(JOBS) $(BIN)
	@$(RUN_TESTS) $(E2E_BIN)

e2e-programs: $(DEPS_TEST)
	@$(MAKE) --no-print-directory -j$(JOBS) $(if $(SAN)$(PGO_CFLAGS),SAN= PGO=no ALLOC=jemalloc) $(E2E_BIN)

# Instructions and system calls per request, counted against tests/budget/budget.tbl: of the build that is installed,
# and no other. make budget-update writes the instructions anew.
BUDGET_OF := gcc|yes|no|jemalloc|-O2 -g||
budget budget-update: $(DEPS_TEST)
ifeq ($(notdir $(CC))|$(LTO)|$(PGO)|$(ALLOC)|$(OPT)|$(CFLAGS)|$(LDFLAGS),$(BUDGET_OF))
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(BIN) $(BUDGET_BIN)
	@MILLPOND=$(abspath $(BIN)) PARSE_HEAD=$(abspath $(BUILD))/tests/budget/parse_head \
	 tests/budget/run $(if $(findstring update,$@),--update)
else
	@echo "budget: skipped: it counts what gcc makes with the default flags and jemalloc"
endif

# The public HTTP cache tests; ONLY= takes a list of their ids. make conformance-update writes the expectation anew.
.PHONY: conformance conformance-update
conformance conformance-update: $(DEPS_CONFORMANCE)
	@$(MAKE) --no-print-directory -j$(JOBS) $(BIN)
	@MILLPOND=$(abspath $(BIN)) tests/conformance/run $(if $(findstring update,$@),--update) $(ONLY)

lint:
	@tests/lint/run

# make fuzz runs every target for FUZZ_SECONDS; make fuzz-replay only replays the kept corpora.
FUZZ_SECONDS ?= 60
fuzz: $(DEPS_TEST)
	@tests/fuzz/run $(FUZZ_SECONDS) $(ONLY)
fuzz-replay: $(DEPS_TEST)
	@tests/fuzz/run 0 $(ONLY)

# make bench compares with the peers; WORK= and ONLY= take lists (bench/run --help). A whole run brings the peers
# along; one narrowed by ONLY makes do with those that are there. What a hypervisor disturbed is made again for PATIENCE
# seconds in all.
WORK     ?=
ROUNDS   ?= 3
SECONDS  ?= 3
PATIENCE ?= 300
DEPS_BENCH := build/.deps-bench
$(DEPS_BENCH): packaging/install-deps
	@mkdir -p build; packaging/install-deps bench && touch $@ || echo "bench: goes on with the peers that are there"
bench: build $(if $(ONLY),,$(DEPS_BENCH))
	@$(MAKE) --no-print-directory -C bench/load
	@MILLPOND=$(abspath $(BIN)) bench/run --work '$(WORK)' --only '$(ONLY)' --rounds $(ROUNDS) --seconds $(SECONDS) \
		--patience $(PATIENCE)

# make trace simulates eviction: the tables of docs/hit-ratio.md, or with FILE=list those of a list of keys and sizes.
$(TRACE_BIN): $(BUILD)/bench/trace/trace_sim.o $(TRACE_OBJ) $(LIB)
	@$(CC) $(ALL_LDFLAGS) $^ $(LIBS) -o $@
trace: $(DEPS_BUILD)
	@$(MAKE) --no-print-directory -j$(JOBS) $(TRACE_BIN)
	@$(TRACE_BIN) $(if $(FILE),--file '$(FILE)')

# make bench-scale: does a hit become dearer when a second worker takes part?
.PHONY: bench-scale
bench-scale: build
	@$(MAKE) --no-print-directory -C bench/load
	@MILLPOND=$(abspath $(BIN)) bench/scale

# make bench-cluster: what a shared store costs, and how fast purges travel.
.PHONY: bench-cluster
bench-cluster: build $(DEPS_TEST)
	@$(MAKE) --no-print-directory -C bench/load
	@MILLPOND=$(abspath $(BIN)) bench/cluster --only '$(ONLY)'

# make chaos: what visitors notice of instances that die, hang, lie or vanish, and of deploys.
.PHONY: chaos
chaos: build $(DEPS_TEST)
	@MILLPOND=$(abspath $(BIN)) bench/chaos --only '$(ONLY)'

# make floods: what floods by HTTP/2 and half-done TLS cost, and what a bystander notices of them.
.PHONY: floods
floods: build
	@MILLPOND=$(abspath $(BIN)) bench/floods --only '$(ONLY)'

docs: build
	@packaging/make-docs $(BIN)

INSTALL := install -D -m 0644
SHARE   := $(DESTDIR)$(PREFIX)/share
install: build
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/millpond
	$(INSTALL) -t $(SHARE)/man/man1 packaging/millpond.1
	$(INSTALL) -t $(SHARE)/man/man5 packaging/millpond.ini.5
	$(INSTALL) -t $(SHARE)/doc/millpond packaging/millpond.ini docs/*.md
	$(INSTALL) packaging/completion.bash $(SHARE)/bash-completion/completions/millpond
	$(INSTALL) packaging/completion.zsh $(SHARE)/zsh/site-functions/_millpond
	$(INSTALL) packaging/completion.fish $(SHARE)/fish/vendor_completions.d/millpond.fish
	$(INSTALL) packaging/millpond.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/millpond.conf
	$(INSTALL) packaging/millpond.service $(DESTDIR)$(PREFIX)/lib/systemd/system/millpond.service
	sed -i 's,/usr/local/bin/,$(PREFIX)/bin/,' $(DESTDIR)$(PREFIX)/lib/systemd/system/millpond.service

# make deb makes a Debian package of it, below build/deb/; make deb-test installs that in a throw-away root and judges it.
.PHONY: deb deb-test
DEPS_DEB := build/.deps-deb
$(DEPS_DEB): packaging/install-deps
	@mkdir -p build && packaging/install-deps build deb && touch $@ $(DEPS_BUILD)
deb: build $(DEPS_DEB)
	+@packaging/make-deb
deb-test:
ifeq ($(notdir $(CC))|$(SAN)|$(shell command -v dpkg-deb >/dev/null 2>&1 && echo dpkg),gcc||dpkg)
	@$(MAKE) --no-print-directory -s deb
	@tests/package/run build/deb/millpond_*.deb
else
	@echo "deb-test: skipped: it is for Debian and what gcc makes"
endif

format:
	@find $(FOLDERS) tests bench -name '*.[ch]' -exec clang-format -i {} +

clean:
	rm -rf build

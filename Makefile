# seqnum: build, test, install. `make help` lists the targets.
#
# Everything built goes to $(BUILD). CFLAGS, CPPFLAGS, LDFLAGS and CC are the
# user's: they are added to, and stand behind, what the project needs.

VERSION := 0.1.0
SOVERSION := 0

BUILD ?= build
V ?= 0
CC ?= cc
CXX ?= c++
AR ?= ar
PKG_CONFIG ?= pkg-config
INSTALL ?= install
CLANG ?= clang

CFLAGS ?= -O2 -g
SANITIZE ?=

PREFIX ?= /usr/local
bindir ?= $(PREFIX)/bin
sbindir ?= $(PREFIX)/sbin
libdir ?= $(PREFIX)/lib
includedir ?= $(PREFIX)/include
datadir ?= $(PREFIX)/share
mandir ?= $(PREFIX)/share/man
# Where bash-completion looks, in /usr and in /usr/local.
completionsdir ?= $(datadir)/bash-completion/completions
sysconfdir ?= /etc
# systemd's own directories with PREFIX=/usr. Else those below PREFIX, never those in
# /etc: they are the administrator's, who may have a unit of the same name there.
# systemd reads the ones in /usr/local/lib too.
ifeq ($(PREFIX),/usr)
unitdir ?= $(shell $(PKG_CONFIG) --variable=systemdsystemunitdir systemd 2>/dev/null || echo /lib/systemd/system)
sysusersdir ?= $(shell $(PKG_CONFIG) --variable=sysusersdir systemd 2>/dev/null || echo /usr/lib/sysusers.d)
catalogdir ?= $(shell $(PKG_CONFIG) --variable=catalogdir systemd 2>/dev/null || echo /usr/lib/systemd/catalog)
else
unitdir ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
catalogdir ?= $(PREFIX)/lib/systemd/catalog
endif

# What Debian provides, and what for.
#   gcc make pkg-config    to build
#   libsystemd-dev         the event loop (sd-event), readiness, journal
#   libinih-dev            the ini file
#   libsqlite3-dev         the store
#   uthash-dev             the daemon's table of sequences (headers only)
#   libjansson-dev         --json of the command lines
#   libxxhash-dev          the checksum of pshm's streams (XXH3), in pshm alone
DEPS_BUILD := gcc libc6-dev make pkg-config libsystemd-dev libinih-dev libsqlite3-dev uthash-dev \
	libjansson-dev libxxhash-dev
#   libcmocka-dev          the tests
#   g++                    seqnum.h from C++
#   spin                   the model of the draw protocol
#   procps util-linux      what test scripts call
#   systemd                the units, under the real one
#   e2fsprogs              mkfs.ext4, of the disk that loses its power
#   jq strace              to look at what is printed, and at system calls
#   prometheus             promtool, which checks what `seqnum metrics` prints
#   clang clang-tidy clang-format cppcheck shellcheck mandoc    make lint
#   valgrind               the programs as they are shipped, under memcheck
#   redis-tools libhiredis-dev python3-redis    Redis' clients, to speak to the control socket
DEPS_CHECK := libcmocka-dev g++ spin procps util-linux systemd e2fsprogs jq strace prometheus redis-tools \
	libhiredis-dev python3-redis valgrind
#   build-essential debhelper fakeroot lintian    make deb
DEPS_DEB := build-essential dpkg-dev debhelper fakeroot lintian
#   libclang-rt-14-dev     libFuzzer (make fuzz), which clang does not pull in by itself
DEPS_LINT := clang libclang-rt-14-dev clang-tidy clang-format cppcheck shellcheck mandoc

# ---------------------------------------------------------------- flags

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wvla \
	-Wpointer-arith -Wundef -Wformat=2 -Wwrite-strings
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

PACKAGES := libsystemd inih sqlite3
PACKAGES_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) jansson 2>/dev/null)
DAEMON_LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -pthread
# Statically where it can be: to load it would take a fifth of what `seqnum next` takes.
JANSSON_ARCHIVE = $(filter /%,$(shell $(CC) -print-file-name=libjansson.a))
CLI_LIBS = $(or $(JANSSON_ARCHIVE),$(shell $(PKG_CONFIG) --libs jansson))
PSHM_LIBS = $(CLI_LIBS) $(shell $(PKG_CONFIG) --libs libxxhash)
CMOCKA_LIBS = $(shell $(PKG_CONFIG) --libs cmocka)

HARDENING := -fstack-protector-strong -fstack-clash-protection -fcf-protection
ifeq ($(SANITIZE),)
ifneq ($(filter -O1 -O2 -O3 -Os,$(CFLAGS)),)
HARDENING += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
else
HARDENING := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=$(SANITIZE)
endif
ifeq ($(filter x86_64%,$(shell $(CC) -dumpmachine)),)
HARDENING := $(filter-out -fcf-protection,$(HARDENING))
endif

ALL_CPPFLAGS = -D_GNU_SOURCE -DSEQNUM_VERSION='"$(VERSION)"' \
	-DSEQNUM_CONFIG_DIRECTORY='"$(sysconfdir)/seqnumd"' \
	-Iclient -Iconfig -Idaemon $(PACKAGES_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS = -std=c11 -pthread $(WARNINGS) $(HARDENING) $(CFLAGS)
ALL_LDFLAGS = -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
# Objects of client/ serve the library and the programs alike.
PIC := -fPIC -fno-plt -fvisibility=hidden
PIE := -fPIE

ifeq ($(V),1)
say =
else
say = @printf '  %-7s %s\n' '$(1)' '$(2:$(BUILD)/%=%)';
endif

# ---------------------------------------------------------------- sources

CLI_SOURCES := $(wildcard client/cli*.c)
# Of both commands: entry and dispatch, options, facts.
COMMAND_SOURCES := $(addprefix client/cli-,main.c args.c facts.c)
PSHM_SOURCES := $(wildcard client/pshm*.c)
LIBRARY_SOURCES := $(filter-out $(CLI_SOURCES) $(PSHM_SOURCES),$(wildcard client/*.c))
CONFIG_SOURCES := $(wildcard config/*.c)
DAEMON_SOURCES := $(wildcard daemon/*.c)

CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
PSHM_OBJECTS := $(PSHM_SOURCES:%.c=$(BUILD)/%.o) $(COMMAND_SOURCES:%.c=$(BUILD)/%.o)
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.c=$(BUILD)/%.o)
DAEMON_OBJECTS := $(DAEMON_SOURCES:%.c=$(BUILD)/%.o) $(CONFIG_SOURCES:%.c=$(BUILD)/%.o)
TESTABLE_OBJECTS := $(filter-out $(BUILD)/daemon/main.o,$(DAEMON_OBJECTS)) $(LIBRARY_OBJECTS)

LIBRARY := libseqnum.so
LIBRARY_FULL := $(LIBRARY).$(VERSION)
SONAME := $(LIBRARY).$(SOVERSION)

UNITS := $(addprefix $(BUILD)/,seqnumd.service seqnumd@.service seqnumd.socket seqnumd@.socket)
MAN1 := $(wildcard client/*.1)
MAN3 := $(wildcard client/*.3)
MAN5 := $(wildcard config/*.5)
MAN8 := $(wildcard daemon/*.8)
# Every function that a page of section 3 names is found under its own name.
MAN3_LINKS := $(filter-out $(basename $(notdir $(MAN3))),$(shell sed -n \
	's/^\.Nm \(seqnum_[a-z_]*\).*/\1/p' $(MAN3)))

API_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test-api-*.c))
UNIT_TESTS := $(filter-out $(API_TESTS),$(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test-*.c)))
INTEGRATION_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/test-*.c)) \
	$(patsubst %.cc,$(BUILD)/%,$(wildcard tests/integration/test-*.cc))
HARNESS_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/integration/harness*.c))
# One driver of all subjects, and what it compares commands to.
BENCHES_ALONE := $(wildcard tests/bench/bench-*.c)
BENCH_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/empty.c $(BENCHES_ALONE),$(wildcard tests/bench/*.c)))
BENCHES := $(BUILD)/tests/bench/bench $(BUILD)/tests/bench/empty $(BENCHES_ALONE:%.c=$(BUILD)/%)
HELPERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/helpers/*.c))
FUZZ_TARGETS := $(filter fuzz-%,$(basename $(notdir $(wildcard tests/fuzz/*.c))))
FUZZERS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/%)
# The corpora through the same targets, by any compiler.
REPLAYS := $(FUZZ_TARGETS:%=$(BUILD)/tests/replay/%)
PRELOADS := $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/preload/*.c))
TEST_PROGRAMS := $(UNIT_TESTS) $(API_TESTS) $(INTEGRATION_TESTS)
TEST_SCRIPTS := $(wildcard tests/integration/test-*.sh)

# ---------------------------------------------------------------- targets

.PHONY: all check torture check-programs programs lint asan tsan deps demo bench install uninstall clean format help
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

PRODUCTS := $(BUILD)/seqnumd $(BUILD)/seqnum $(BUILD)/pshm $(BUILD)/$(LIBRARY) $(BUILD)/libseqnum.a \
	$(BUILD)/seqnum.pc $(UNITS)

all: $(PRODUCTS) ## build everything

# Version and paths are compiled in: other ones on the command line build anew.
$(BUILD)/paths: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(sysconfdir)' | cmp -s - $@ || echo '$(VERSION) $(sysconfdir)' >$@

$(BUILD)/client/%.o: client/%.c $(BUILD)/paths
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(PIC) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c $(BUILD)/paths
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(PIE) -MMD -MP -c -o $@ $<

# Not to be unloaded: its handler of SIGBUS stays for the life of the process.
$(BUILD)/$(LIBRARY_FULL): $(LIBRARY_OBJECTS) client/seqnum.map
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,nodelete \
		-Wl,-Bsymbolic-functions -Wl,--version-script=client/seqnum.map \
		$(if $(SANITIZE),,-Wl,-z,defs) -o $@ $(LIBRARY_OBJECTS)

$(BUILD)/$(SONAME): $(BUILD)/$(LIBRARY_FULL)
	@ln -sf $(LIBRARY_FULL) $@

$(BUILD)/$(LIBRARY): $(BUILD)/$(SONAME)
	@ln -sf $(SONAME) $@

$(BUILD)/libseqnum.a: $(LIBRARY_OBJECTS)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(LIBRARY_OBJECTS)

$(BUILD)/seqnum: $(CLI_OBJECTS) $(BUILD)/libseqnum.a
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(CLI_LIBS)

$(BUILD)/pshm: $(PSHM_OBJECTS) $(BUILD)/libseqnum.a
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(PSHM_LIBS)

$(BUILD)/seqnumd: $(DAEMON_OBJECTS) $(BUILD)/libseqnum.a
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(DAEMON_LIBS)

SUBSTITUTE = sed -e 's|@prefix@|$(PREFIX)|g' -e 's|@bindir@|$(bindir)|g' \
	-e 's|@sbindir@|$(sbindir)|g' -e 's|@libdir@|$(libdir)|g' \
	-e 's|@includedir@|$(includedir)|g' -e 's|@sysconfdir@|$(sysconfdir)|g' \
	-e 's|@version@|$(VERSION)|g'

# Where to install to may change from one make to the next: substitute always.
.PHONY: FORCE
$(BUILD)/seqnum.pc: client/seqnum.pc.in FORCE
	@mkdir -p $(@D)
	@$(SUBSTITUTE) $< >$@
# A unit and its template, of which %i is the instance, have one source.
OF_DEFAULT = -e 's|@suffix@||g' -e 's|@arguments@||g' -e 's|@at_instance@||g' -e 's|@of_instance@||g'
OF_INSTANCE = -e 's|@suffix@|.%i|g' -e 's|@arguments@| --instance %i|g' \
	-e 's|@at_instance@|@%i|g' -e 's|@of_instance@| of %i|g'
# systemd 253 and newer waits for a reload, and sends the signal itself.
ifeq ($(shell $(PKG_CONFIG) --atleast-version=253 systemd 2>/dev/null && echo yes),yes)
SERVICE_TYPE = -e 's|@service_type@|notify-reload|' -e '/@exec_reload@/d'
else
SERVICE_TYPE = -e 's|@service_type@|notify|' -e 's|@exec_reload@|ExecReload=/bin/kill -HUP $$MAINPID|'
endif
# systemd 254 and newer can try less and less often, and so need not give up.
ifeq ($(shell $(PKG_CONFIG) --atleast-version=254 systemd 2>/dev/null && echo yes),yes)
RESTART_STEPS = -e 's|@restart_steps@|RestartSteps=8\nRestartMaxDelaySec=10|'
else
RESTART_STEPS = -e '/@restart_steps@/d'
endif
$(BUILD)/seqnumd.%: systemd/seqnumd.%.in FORCE
	@mkdir -p $(@D)
	@$(SUBSTITUTE) $(SERVICE_TYPE) $(RESTART_STEPS) $(OF_DEFAULT) $< >$@
$(BUILD)/seqnumd@.%: systemd/seqnumd.%.in FORCE
	@mkdir -p $(@D)
	@$(SUBSTITUTE) $(SERVICE_TYPE) $(RESTART_STEPS) $(OF_INSTANCE) $< >$@

# ---------------------------------------------------------------- tests

$(BUILD)/libtestable.a: $(TESTABLE_OBJECTS)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(TESTABLE_OBJECTS)

# The rooms from inside.
$(UNIT_TESTS): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libtestable.a
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(TEST_LDFLAGS) -pie -o $@ $^ $(DAEMON_LIBS) \
		$(CMOCKA_LIBS)

$(BUILD)/tests/unit/test-races: TEST_LDFLAGS = -Wl,--wrap=mmap,--wrap=munmap

# The shipped library and the real daemon, from outside.
AGAINST_LIBRARY = -L$(BUILD) -lseqnum -Wl,-rpath,'$$ORIGIN/../..'

$(API_TESTS): %: %.o $(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) \
		$(AGAINST_LIBRARY) $(CMOCKA_LIBS)

$(BUILD)/tests/integration/test-%: $(BUILD)/tests/integration/test-%.o $(HARNESS_OBJECTS) \
		$(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) \
		$(AGAINST_LIBRARY) $(CMOCKA_LIBS) $(TEST_LIBS)

$(BUILD)/tests/integration/test-hiredis: TEST_LIBS = -lhiredis
$(addprefix $(BUILD)/tests/integration/test-,step-daemon lying-state): TEST_LIBS = -lsqlite3

$(BUILD)/tests/integration/test-%: tests/integration/test-%.cc $(BUILD)/$(LIBRARY)
	@mkdir -p $(@D)
	$(call say,CXX,$@)$(CXX) -Iclient -Wall -Wextra -Werror $(HARDENING) $(CFLAGS) $(ALL_LDFLAGS) \
		-MMD -MP -o $@ $< $(AGAINST_LIBRARY)

$(BUILD)/tests/bench/bench: $(BENCH_OBJECTS) $(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) \
		$(AGAINST_LIBRARY) $(DAEMON_LIBS)

$(BUILD)/tests/bench/empty: $(BUILD)/tests/bench/empty.o
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^

# Those that measure by themselves.
$(BUILD)/tests/bench/bench-%: $(BUILD)/tests/bench/bench-%.o $(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) \
		$(AGAINST_LIBRARY) -pthread $(BENCH_LIBS)

$(BUILD)/tests/bench/bench-gapless: BENCH_LIBS = -lsqlite3

# What tests put before libc in programs that are not theirs. Never instrumented, nor
# fortified: it defines what the headers would then inline.
$(BUILD)/tests/preload/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CPPFLAGS) -U_FORTIFY_SOURCE -std=c11 $(WARNINGS) -O2 -g -fPIC -shared -MMD -MP -o $@ $<

# Programs that tests run beside the service.
$(BUILD)/tests/helpers/%: $(BUILD)/tests/helpers/%.o $(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) $(AGAINST_LIBRARY)

FUZZ_OBJECTS = $(BUILD)/tests/fuzz/image.o $(BUILD)/libtestable.a

$(REPLAYS): $(BUILD)/tests/replay/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay.o $(FUZZ_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(DAEMON_LIBS)

$(FUZZERS): $(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(FUZZ_OBJECTS)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fsanitize=fuzzer -pie -o $@ $^ $(DAEMON_LIBS)

check-programs: all $(TEST_PROGRAMS) $(PRELOADS) $(HELPERS) $(REPLAYS)

# Whatever can be compiled.
programs: check-programs $(BENCHES) $(BUILD)/tests/demo-draw

# TESTS=pattern runs those whose path matches, e.g. `make check TESTS=unit`; so many at a
# time. The long ones begin first.
JOBS ?= $(shell nproc)
check: check-programs ## run all tests, about 5 minutes; TESTS=pattern for some, JOBS=n at a time
	@SEQNUM_TEST_JOBS=$(JOBS) SEQNUM_BUILD=$(BUILD) SEQNUM_SRCDIR=. tests/run-tests.sh '$(TESTS)' \
		$(if $(SANITIZE),,tests/model/run.sh) \
		$(UNIT_TESTS) $(API_TESTS) $(wildcard tests/unit/test-*.sh) $(REPLAYS) \
		$(INTEGRATION_TESTS) $(TEST_SCRIPTS)

# What does harm on purpose, in amounts that grow with SCALE: `make check` is SCALE=1.
# The order is that of the page 'Guarantees' in the README.
TORTURE_TESTS := $(addprefix $(BUILD)/tests/integration/,test-crash test-reboot test-stop \
	test-gapless test-time test-power test-faults test-lying-state test-block \
	test-step-client test-step-gapless test-step-daemon test-pshm-death \
	test-pshm-stream test-load test-scarce test-hostile test-truncated)
SCALE ?= 20

# The textbook's exercise, also a part of `make check`.
pshm_xfr_test: all ## send 50 MB of random data through pshm, in both modes, and compare
	@SEQNUM_BUILD=$(BUILD) SEQNUM_SRCDIR=. tests/integration/test-pshm-xfr.sh
.PHONY: pshm_xfr_test

torture: check-programs ## the long form of what does harm, hours; SCALE=20, TESTS=pattern
	@SEQNUM_BUILD=$(BUILD) SEQNUM_SRCDIR=. SEQNUM_TORTURE=1 SEQNUM_TEST_SCALE=$(SCALE) \
		SEQNUM_TEST_LIMIT=14400 tests/run-tests.sh '$(TESTS)' $(TORTURE_TESTS)

# What can be run on its own under qemu-user.
cross-tests: $(UNIT_TESTS) $(BUILD)/$(LIBRARY) $(BUILD)/seqnum $(BUILD)/seqnumd
.PHONY: cross-tests

DEPS_AARCH64 := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
aarch64: ## build for aarch64, with and without LSE, and run the unit tests under qemu
	@BUILD=$(BUILD) tests/aarch64.sh
aarch64-deps: ## install what make aarch64 needs (Debian)
	$(SUDO) apt-get install -q -y --no-install-recommends $(DEPS_AARCH64)
.PHONY: aarch64 aarch64-deps

asan: ## build with AddressSanitizer and UBSan in $(BUILD)/asan, and test
	$(MAKE) check BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' \
		SEQNUM_SANITIZER=asan

tsan: ## build with ThreadSanitizer in $(BUILD)/tsan, and test
	$(MAKE) check BUILD=$(BUILD)/tsan SANITIZE=thread CFLAGS='-O1 -g' SEQNUM_SANITIZER=tsan

# Each target for so long, two at a time; TESTS=pattern for some. What is new goes to
# $(BUILD)/fuzz/corpus, what crashed to $(BUILD)/fuzz/crashes.
FUZZ_SECONDS ?= 60
fuzzers: $(FUZZERS)
fuzz: ## fuzz with libFuzzer, ASan and UBSan; FUZZ_SECONDS=60 each, TESTS=pattern
	$(MAKE) fuzzers BUILD=$(BUILD)/fuzz CC=$(CLANG) CFLAGS='-O1 -g' \
		SANITIZE=address,undefined,fuzzer-no-link
	@SEQNUM_BUILD=$(BUILD)/fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh '$(TESTS)' \
		$(FUZZ_TARGETS)
.PHONY: fuzz fuzzers

export SEQNUM_SANITIZER

print-deps:
	@echo $(DEPS_BUILD) $(DEPS_CHECK) $(DEPS_LINT) $(DEPS_DEB)
.PHONY: print-deps

$(BUILD)/tests/demo-draw: $(BUILD)/tests/demo-draw.o $(BUILD)/$(LIBRARY)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $(filter %.o,$^) \
		-L$(BUILD) -lseqnum -Wl,-rpath,'$$ORIGIN/..'

bench: all $(BENCHES) ## measure, as ratios to the bare instruction of the same run
	@SEQNUM_BUILD=$(BUILD) tests/bench/run.sh

bench-pshm: all $(BUILD)/tests/bench/bench-pshm ## measure pshm's streams beside a pipe and memcpy; takes 8 GiB of memory
	@SEQNUM_BUILD=$(BUILD) $(BUILD)/tests/bench/bench-pshm
.PHONY: bench-pshm

# What `make bench` compares with and draws with; run.sh starts servers of its own.
#   gnuplot-nox jq         plots, tables
#   redis-server redis-tools postgresql sqlite3 uuid-runtime util-linux (flock)    peers
DEPS_BENCH := gnuplot-nox jq redis-server redis-tools postgresql sqlite3 uuid-runtime util-linux
bench-deps: ## install the peers that make bench compares with; none is started (Debian)
	$(SUDO) tests/bench/install-peers.sh $(DEPS_BENCH)
.PHONY: bench-deps

demo: all $(BUILD)/tests/demo-draw ## a private instance, drawn from by many, its daemon killed
	@SEQNUM_BUILD=$(BUILD) tests/demo.sh

# ---------------------------------------------------------------- lint

C_FILES = $(wildcard client/*.c config/*.c daemon/*.c tests/*.c tests/*/*.c)
H_FILES = $(wildcard client/*.h config/*.h daemon/*.h tests/*/*.h)
SHELL_FILES = $(wildcard tests/*.sh tests/*/*.sh) .ci/run tests/all tests/demo tests/setup

LINTS := lint-gcc lint-clang lint-format lint-tidy lint-cppcheck lint-shell lint-man
.PHONY: $(LINTS)

# `make -k lint` hears all of them out.
lint: $(LINTS) ## warnings as errors (gcc, clang), clang-tidy, cppcheck, clang-format, shellcheck, mandoc
	@echo "lint: nothing to say"

lint-gcc:
	$(MAKE) WERROR=1 BUILD=$(BUILD)/lint-gcc programs

lint-clang:
	$(MAKE) WERROR=1 BUILD=$(BUILD)/lint-clang CC=$(CLANG) CFLAGS='-O1' programs

lint-format:
	clang-format --dry-run -Werror $(C_FILES) $(H_FILES)

lint-tidy:
	printf '%s\n' $(wildcard client/*.c config/*.c daemon/*.c) | xargs -P2 -n3 sh -c \
		'clang-tidy --quiet "$$@" -- -std=c11 -D_GNU_SOURCE -DSEQNUM_VERSION=\"\" \
		-DSEQNUM_CONFIG_DIRECTORY=\"\" -Iclient -Iconfig -Idaemon $(PACKAGES_CFLAGS) 2>/dev/null' sh

lint-cppcheck:
	cppcheck --quiet --std=c11 --error-exitcode=1 --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=unknownMacro \
		-D_GNU_SOURCE -D__x86_64__ -DSEQNUM_VERSION='""' -DSEQNUM_CONFIG_DIRECTORY='""' \
		-Iclient -Iconfig -Idaemon client config daemon

lint-shell:
	shellcheck -s bash client/seqnum.bash client/pshm.bash
	shellcheck $(wildcard $(SHELL_FILES))

lint-man:
	mandoc -T lint -W warning $(MAN1) $(MAN3) $(MAN5) $(MAN8)

format: ## let clang-format lay out all sources
	clang-format -i $(C_FILES) $(H_FILES)

# ---------------------------------------------------------------- install

SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)
deps: ## install what building and testing needs (Debian)
	$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
		$(DEPS_BUILD) $(DEPS_CHECK) $(DEPS_LINT) $(DEPS_DEB)

install: all ## install to $(DESTDIR)$(PREFIX)
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(sbindir) $(DESTDIR)$(libdir)/pkgconfig \
		$(DESTDIR)$(includedir) $(DESTDIR)$(unitdir) $(DESTDIR)$(sysusersdir) \
		$(DESTDIR)$(catalogdir) \
		$(DESTDIR)$(sysconfdir)/seqnumd $(addprefix $(DESTDIR)$(mandir)/man,1 3 5 8) \
		$(DESTDIR)$(completionsdir)
	$(INSTALL) -m 755 $(BUILD)/seqnum $(BUILD)/pshm $(DESTDIR)$(bindir)/
	$(INSTALL) -m 755 $(BUILD)/seqnumd $(DESTDIR)$(sbindir)/
	$(INSTALL) -m 644 $(BUILD)/$(LIBRARY_FULL) $(BUILD)/libseqnum.a $(DESTDIR)$(libdir)/
	ln -sf $(LIBRARY_FULL) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/$(LIBRARY)
	$(INSTALL) -m 644 $(BUILD)/seqnum.pc $(DESTDIR)$(libdir)/pkgconfig/
	$(INSTALL) -m 644 client/seqnum.h client/seqnum-inline.h $(DESTDIR)$(includedir)/
	$(INSTALL) -m 644 $(UNITS) $(DESTDIR)$(unitdir)/
	$(INSTALL) -m 644 systemd/seqnumd.sysusers $(DESTDIR)$(sysusersdir)/seqnumd.conf
	$(INSTALL) -m 644 systemd/seqnumd.catalog $(DESTDIR)$(catalogdir)/
	$(INSTALL) -m 644 $(MAN1) $(DESTDIR)$(mandir)/man1/
	$(INSTALL) -m 644 $(MAN3) $(DESTDIR)$(mandir)/man3/
	for name in $(MAN3_LINKS); do \
		echo ".so man3/$$(basename "$$(grep -l "^\.Nm $$name" $(MAN3))")" \
			>$(DESTDIR)$(mandir)/man3/$$name.3 || exit 1; \
	done
	$(INSTALL) -m 644 $(MAN5) $(DESTDIR)$(mandir)/man5/
	$(INSTALL) -m 644 $(MAN8) $(DESTDIR)$(mandir)/man8/
	$(INSTALL) -m 644 client/seqnum.bash $(DESTDIR)$(completionsdir)/seqnum
	$(INSTALL) -m 644 client/pshm.bash $(DESTDIR)$(completionsdir)/pshm
	[ -e $(DESTDIR)$(sysconfdir)/seqnumd/seqnumd.ini ] || \
		$(INSTALL) -m 644 config/seqnumd.ini $(DESTDIR)$(sysconfdir)/seqnumd/

uninstall: ## remove what install put there, but for the configuration
	rm -f $(DESTDIR)$(bindir)/seqnum $(DESTDIR)$(bindir)/pshm $(DESTDIR)$(sbindir)/seqnumd \
		$(addprefix $(DESTDIR)$(libdir)/,$(LIBRARY) $(SONAME) $(LIBRARY_FULL) libseqnum.a) \
		$(DESTDIR)$(libdir)/pkgconfig/seqnum.pc $(addprefix $(DESTDIR)$(includedir)/,seqnum.h seqnum-inline.h) \
		$(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(UNITS))) \
		$(DESTDIR)$(sysusersdir)/seqnumd.conf $(DESTDIR)$(catalogdir)/seqnumd.catalog \
		$(DESTDIR)$(completionsdir)/seqnum $(DESTDIR)$(completionsdir)/pshm \
		$(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(MAN1))) \
		$(addprefix $(DESTDIR)$(mandir)/man3/,$(notdir $(MAN3)) $(MAN3_LINKS:=.3)) \
		$(addprefix $(DESTDIR)$(mandir)/man5/,$(notdir $(MAN5))) \
		$(addprefix $(DESTDIR)$(mandir)/man8/,$(notdir $(MAN8)))

# Debian wants its directory at the top of the sources, so there they are copied to.
DEB := $(BUILD)/deb/seqnum-$(VERSION)
deb: ## build Debian packages in $(BUILD)/deb, and have lintian look at them
	rm -rf $(BUILD)/deb && mkdir -p $(DEB)
	cp -a Makefile README.md LICENSE client config daemon systemd tests $(DEB)/
	mv $(DEB)/systemd/debian $(DEB)/debian
	cd $(DEB) && env -u MAKEFLAGS -u MAKELEVEL -u BUILD -u SEQNUM_SANITIZER dpkg-buildpackage -b -us -uc
	lintian --allow-root --fail-on error,warning $(BUILD)/deb/*.changes
.PHONY: deb

clean: ## remove $(BUILD)
	rm -rf $(BUILD)

help: ## list the targets
	@sed -n 's/^\([a-z0-9_-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

-include $(shell find $(BUILD) -name '*.d' -type f -not -path '$(BUILD)/deb/*' -not -path '$(BUILD)/asan/*' -not -path '$(BUILD)/tsan/*' -not -path '$(BUILD)/lint-*' -not -path '$(BUILD)/fuzz/*' 2>/dev/null)

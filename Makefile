# SPDX-License-Identifier: Apache-2.0
# One make for the whole house. Each folder's objects.mk lists what it adds:
#   obj-y       objects of the daemon, by path from here; obj-$(CONFIG_X) when X is chosen
#   sim-y       what build/sluice-sim has beyond libsluice.a; ctl-y: the same of build/sluicectl
#   gen-y       sources that the list itself generates, $(GEN)/NAME.c
#   service-y   rows of the generated table of services, started in the order of the folders below
#   feature-$(CONFIG_X) += bridges:CONFIG_X    what a configuration file cannot use while X is off
#   test-y      programs of tests/unit; test-obj-y: objects that all of them are linked with
#   thread-y    those of them that start threads: SAN=tsan looks at these alone
# Variants keep their objects apart: SAN=asan, SAN=tsan, CC=clang. V=1 shows the commands.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SECONDARY:

PYTHON := /usr/bin/python3
prefix ?= /usr
sysconfdir ?= /etc
# A checkout is built strictly; what a distribution packs is not.
WERROR ?= $(if $(wildcard .git),1)
Q := $(if $(V),,@)

# --- what is built ---------------------------------------------------------------------------------------------
.DEFAULT_GOAL := all

ifeq ($(SAN),fuzz)
CC := clang
endif
O := build$(if $(SAN),/$(SAN),$(if $(findstring clang,$(CC)),/clang))
GEN := $(O)/generated

define newline


endef
# Writes a variable to the target, and touches the target only when what it says has changed.
define generate
$(shell mkdir -p $(@D))$(file >$@.new,$($(1)))
@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
endef

CONFIG := $(or $(wildcard .config),board/generic/config)
include $(CONFIG)

gen-y := services
folders := gateway gateway/base gateway/codec gateway/net gateway/store gateway/broker gateway/ops gateway/ctl \
	drivers $(patsubst %/,%,$(sort $(wildcard drivers/*/))) bridge tests/unit
include $(wildcard $(folders:=/objects.mk))

# --- how it is built -------------------------------------------------------------------------------------------
packages := libuv sqlite3 libconfig libcjson libserialport libmodbus $(if $(CONFIG_SCRAM),libgsasl)
warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wconversion -Wmissing-prototypes $(if $(WERROR),-Werror)
harden := -fPIE -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2
CFLAGS ?= -O2 -g
LDLIBS := $(shell pkg-config --libs $(packages) 2>/dev/null) -lmbedtls -lmbedx509 -lmbedcrypto \
	$(if $(CONFIG_WEBSOCKET),-lhttp_parser -lwslay) -lm -lpthread
LDFLAGS += -Wl,--as-needed

san-asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
# At -O1 gcc 12 compiles some loops wrongly under this one.
san-tsan := -fsanitize=thread -fno-omit-frame-pointer
san-fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -O1
ifdef SAN
# gcc's checks add conversions of their own, of which it then warns.
extra := $(or $(san-$(SAN)),$(error SAN=$(SAN) is none of: asan tsan fuzz)) -Wno-conversion
else
extra := $(harden)
LDFLAGS += -pie -Wl,-z,relro,-z,now
endif
# A limits.h of ours in gateway/ itself would still be taken for the system's: by the #include_next of gcc's own.
all_cflags := -std=gnu17 -D_GNU_SOURCE -iquote gateway -iquote . -iquote $(O) $(warnings) $(CFLAGS) $(extra) \
	$(shell pkg-config --cflags $(packages) 2>/dev/null)

objects := $(addprefix $(O)/,$(obj-y)) $(patsubst %,$(GEN)/%.o,$(gen-y))
tests := $(addprefix $(O)/tests/unit/,$(if $(filter tsan,$(SAN)),$(filter $(thread-y),$(test-y)),$(test-y)))
fuzzers := $(patsubst %.c,$(O)/%,$(wildcard tests/fuzz/fuzz_*.c))
shared := $(addprefix $(O)/,$(test-obj-y))
programs := $(if $(wildcard gateway/main.c),$(O)/sluiced) $(if $(ctl-y),$(O)/sluicectl) $(if $(sim-y),$(O)/sluice-sim)

.PHONY: all FORCE
all: $(programs) $(O)/libsluice.a

$(O)/libsluice.a: $(objects)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(O)/sluiced: $(O)/gateway/main.o
$(O)/sluicectl: $(addprefix $(O)/,$(ctl-y))
$(O)/sluice-sim: $(addprefix $(O)/,$(sim-y))
$(programs) $(tests): $(O)/libsluice.a
	@echo "  LD    $@"
	$(Q)$(CC) $(extra) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) $(if $(findstring /tests/,$@),-lcmocka)
$(tests): $(O)/tests/unit/%: $(O)/tests/unit/%.o $(shared)

$(fuzzers): $(O)/tests/fuzz/%: $(O)/tests/fuzz/%.o $(O)/libsluice.a
	@echo "  LD    $@"
	$(Q)$(CC) $(extra) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(O)/%.o: %.c $(O)/flags | $(GEN)/autoconf.h
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)$(CC) $(all_cflags) -MMD -MP -c -o $@ $<

# cmocka 2 is narrower about what bytes may be compared as text.
$(O)/tests/%.o: all_cflags += -Wno-pointer-sign

$(GEN)/%.o: $(GEN)/%.c $(O)/flags | $(GEN)/autoconf.h
	$(Q)$(CC) $(all_cflags) -MMD -MP -c -o $@ $<

flags := $(CC) $(all_cflags)
$(O)/flags: FORCE
	@pkg-config --print-errors --exists $(packages) || { echo "make deps installs what is missing"; exit 1; }
	$(call generate,flags)

$(GEN)/autoconf.h: FORCE
	@mkdir -p $(@D)
	@sed -n 's/^\(CONFIG_[A-Z0-9_]*\)=y$$/#define \1 1/p; t; s/^\(CONFIG_[A-Z0-9_]*\)=\(.*\)/#define \1 \2/p' \
		$(CONFIG) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

define services_c
#include "service.h"

$(foreach s,$(service-y),extern const struct service $s;$(newline))
const struct service *const services[] = {
$(foreach s,$(service-y),    &$s,$(newline))    NULL,
};

const struct conf_absent features_absent[] = {
$(foreach f,$(feature-) $(feature-n),    {"$(firstword $(subst :, ,$f))", "$(lastword $(subst :, ,$f))"},$(newline))    {NULL, NULL},
};
endef

$(GEN)/services.c: FORCE
	$(call generate,services_c)

everything := $(objects) $(addprefix $(O)/,$(ctl-y) $(sim-y)) $(O)/gateway/main.o $(tests:=.o) $(shared)
-include $(everything:.o=.d) $(fuzzers:=.d)

# --- choosing --------------------------------------------------------------------------------------------------
.PHONY: defconfig menuconfig savedefconfig olddefconfig
defconfig: generic_defconfig
kconfig := $(PYTHON) -c 'import kconfiglib' 2>/dev/null || { echo "this needs Debian's python3-kconfiglib"; exit 1; }
%_defconfig: board/%/defconfig
	@$(kconfig)
	$(PYTHON) -m defconfig --kconfig Kconfig $<
menuconfig olddefconfig:
	@$(kconfig)
	$(PYTHON) -m $@ Kconfig
# What differs from the defaults, as a board's defconfig holds it.
savedefconfig:
	@$(kconfig)
	$(PYTHON) -m savedefconfig --kconfig Kconfig --out defconfig

# --- testing ---------------------------------------------------------------------------------------------------
SECONDS_EACH ?= 600

.PHONY: deps check unit lint fuzz fuzz-run bench bench-field bench-motes bench-motes-line soak demo check-serial check-trixie
deps:
	tests/install-deps.sh build

# tests/check.sh lists the steps; they are targets below.
check:
	tests/check.sh

unit: $(tests)
	tests/unit/run.sh $(or $(SAN),plain) $(tests)

lint: all $(tests)
	$(PYTHON) -m pytest -q -p no:cacheprovider tests/lint
	$(PYTHON) tests/lint/lint.py $(everything)
	$(PYTHON) tests/lint/conformance.py

fuzz:
	$(MAKE) SAN=fuzz fuzz-run
fuzz-run: $(fuzzers)
	tests/fuzz/run.sh $(SECONDS_EACH) $(fuzzers)

demo:
	@tests/install-deps.sh demo
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) tests/demo/demo.py $(if $(KEEP),--keep)

load := $(addprefix $(O)/tests/bench/load,.o _options.o _tls.o)
-include $(load:.o=.d)
$(O)/tests/bench/load: $(load)
	@echo "  LD    $@"
	$(Q)$(CC) $(extra) $(LDFLAGS) -o $@ $^ -lmbedtls -lmbedx509 -lmbedcrypto

$(O)/tests/bench/sequential: $(O)/tests/bench/sequential.o
	@echo "  LD    $@"
	$(Q)$(CC) $(extra) $(LDFLAGS) -o $@ $^

# BENCH="--quick", "--rounds 3 --only loads" …
bench:
	@tests/install-deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all $(O)/tests/bench/load
	@$(PYTHON) tests/bench/bench.py $(BENCH)
	@$(if $(findstring --only,$(BENCH)),,$(MAKE) --no-print-directory bench-field bench-motes bench-motes-line)
bench-field:
	@tests/install-deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all $(O)/tests/unit/test_modbus_field
	@$(PYTHON) tests/bench/field.py $(filter --quick,$(BENCH))
bench-motes:
	@tests/install-deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all $(O)/tests/bench/sequential
	@$(PYTHON) tests/bench/motes.py $(filter --quick,$(BENCH))
bench-motes-line:
	@tests/install-deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) tests/bench/motes_line.py $(filter --quick,$(BENCH))

soak: all $(O)/tests/unit/test_modbus_field
	SLUICE_EXCHANGES=1000000 $(O)/tests/unit/test_modbus_field
	SLUICE_KILLS=2000 SLUICE_CUTS=10000 $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/durability
	SLUICE_MODEL_SECONDS=3600 $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/model

# Real drivers, in a machine that qemu computes; a part of check.
check-serial: all
	$(PYTHON) -m pytest -q -s -p no:cacheprovider tests/serial

check-trixie:
	tests/check-trixie.sh

# --- keeping house ---------------------------------------------------------------------------------------------
.PHONY: install docs format clean
# The configuration is the site's own: what is there stays.
install: all
	install -D -t $(DESTDIR)$(prefix)/sbin $(O)/sluiced
	install -D -t $(DESTDIR)$(prefix)/bin $(O)/sluicectl $(filter %/sluice-sim,$(programs))
	install -D -m 644 -t $(DESTDIR)$(prefix)/share/doc/sluice $(wildcard LICENSE README.md CHANGES.md docs/*.md)
	install -D -m 644 -t $(DESTDIR)$(prefix)/share/sluice/profiles drivers/modbus/profiles/*.conf
	cd rootfs/overlay/usr && find * -type f -exec install -D -m 644 {} $(abspath $(DESTDIR))/$(prefix)/{} \;
	sed -i 's|/usr/|$(prefix)/|g' $(DESTDIR)$(prefix)/lib/systemd/system/sluiced.service
	[ -e $(DESTDIR)$(sysconfdir)/sluice/sluice.conf ] || \
		install -D -m 640 rootfs/overlay/etc/sluice/sluice.conf $(DESTDIR)$(sysconfdir)/sluice/sluice.conf

# The reference of all keys, from the same rows that check them.
docs: $(O)/sluiced
	mkdir -p docs && { printf '# Configuration\n\n'; $(O)/sluiced --manual; } > docs/configuration.md

format:
	git ls-files -co --exclude-standard '*.[ch]' | xargs clang-format -i

clean:
	rm -rf build

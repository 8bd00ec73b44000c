# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/ctl/human.o
obj-y += gateway/ctl/table.o
obj-y += gateway/ctl/doctor_rules.o
obj-y += gateway/ctl/status_fields.o
obj-y += gateway/ctl/status_view.o
obj-y += gateway/ctl/top_view.o
gen-y += ctl_commands

# command-y: rows of the table of commands that other folders bring, as symbols.
define ctl_commands_c
#include "ctl/command.h"

$(foreach c,$(command-y),extern const struct ctl_command $c;$(newline))
const struct ctl_command *const ctl_commands[] = {
$(foreach c,$(command-y),    &$c,$(newline))    NULL,
};
endef

$(GEN)/ctl_commands.c: FORCE
	$(call generate,ctl_commands_c)

ctl-y += gateway/ctl/main.o
ctl-y += gateway/ctl/motes.o
ctl-y += gateway/ctl/ask.o
ctl-y += gateway/ctl/doctor.o
ctl-y += gateway/ctl/help.o
ctl-y += gateway/ctl/options.o
ctl-y += gateway/ctl/pcap.o
ctl-y += gateway/ctl/registers.o
ctl-y += gateway/ctl/scan.o
ctl-y += gateway/ctl/sniff.o
ctl-y += gateway/ctl/top.o
ctl-y += gateway/ctl/trace.o
ctl-y += gateway/ctl/watch.o
ctl-y += gateway/ctl/user.o
ctl-y += gateway/ctl/acl.o
ctl-y += gateway/ctl/secret.o

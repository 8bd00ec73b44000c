# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/ctl/human.o
obj-y += gateway/ctl/table.o
obj-y += gateway/ctl/status_fields.o
obj-y += gateway/ctl/status_view.o
ctl-y += gateway/ctl/main.o
ctl-y += gateway/ctl/ask.o

# SPDX-License-Identifier: Apache-2.0
obj-y += $(if $(CONFIG_SYSTEMD),gateway/notify_systemd.o,gateway/notify_none.o)

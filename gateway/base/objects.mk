# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/base/buf.o
obj-y += gateway/base/clock.o
obj-y += gateway/base/log.o
obj-y += gateway/base/mailbox.o
obj-y += gateway/base/map.o
obj-y += gateway/base/mem.o

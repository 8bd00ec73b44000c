# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/broker/broker.o gateway/broker/message.o gateway/broker/queue.o gateway/broker/retain.o \
	gateway/broker/router.o gateway/broker/session.o

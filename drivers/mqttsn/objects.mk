# SPDX-License-Identifier: Apache-2.0
# link-y: rows of the table of links, by symbol.
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/config.o
bus := $(and $(CONFIG_MQTT_SN),$(CONFIG_MODBUS_RTU))
obj-$(bus) += drivers/mqttsn/bus.o
obj-$(bus) += drivers/mqttsn/link_bus.o
obj-$(and $(bus),$(CONFIG_SIM)) += drivers/mqttsn/node/node.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/connect.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/deliver.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/driver.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/framing.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/framing_plain.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/framing_slip.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/framing_xbee.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/line_in.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/line_out.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/link_serial.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/link_udp.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/mote.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/publish.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/sleep.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/status.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/subscribe.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/topics.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/view.o
obj-$(CONFIG_MQTT_SN) += drivers/mqttsn/will.o
driver-$(CONFIG_MQTT_SN) += driver_mqttsn:mqtt-sn:mqtt-sn
feature-$(CONFIG_MQTT_SN) += protocol=mqtt-sn:CONFIG_MQTT_SN
gen-$(CONFIG_MQTT_SN) += mqttsn_links
link-y += link_udp
link-y += link_tty
link-y += link_usb
link-$(bus) += link_bus

define mqttsn_links_c
#include "drivers/mqttsn/link.h"

$(foreach l,$(link-y),extern const struct link_kind $l;$(newline))
const struct link_kind *const link_kinds[] = {
$(foreach l,$(link-y),    &$l,$(newline))    NULL,
};
endef

$(GEN)/mqttsn_links.c: FORCE
	$(call generate,mqttsn_links_c)

# SPDX-License-Identifier: Apache-2.0
# driver-y: rows of the table of drivers, as symbol:protocol:kind of device. port-y: rows of the table of ports, as
# symbol, or symbol:prefix:CONFIG_X where X may leave it out.
obj-y += drivers/command.o
obj-y += drivers/field.o
obj-y += drivers/gpio.o
obj-y += drivers/ids.o
obj-y += drivers/line.o
obj-y += drivers/lines.o
obj-y += drivers/port.o
obj-y += drivers/port_facts.o
obj-y += drivers/port_serial.o
obj-y += drivers/port_tcp.o
obj-y += drivers/publish.o
obj-y += drivers/reading.o
obj-y += drivers/rs485.o
obj-y += drivers/schedule.o
obj-y += drivers/tap.o
obj-y += drivers/tools.o
obj-y += drivers/visit.o
obj-y += drivers/watch.o
obj-$(CONFIG_SIM) += drivers/port_sim.o
gen-y += drivers
service-y += service_lines
port-y += port_path
port-y += port_usb
port-y += port_tcp
port-$(CONFIG_SIM) += port_sim:sim:CONFIG_SIM

driver_part = $(word $(1),$(subst :, ,$(2)))
define drivers_c
#include "drivers/driver.h"
#include "drivers/port.h"

$(foreach d,$(driver-y),extern const struct driver $(call driver_part,1,$d);$(newline))
$(foreach p,$(port-y),extern const struct port_kind $(call driver_part,1,$p);$(newline))
const struct driver *const drivers[] = {
$(foreach d,$(driver-y),    &$(call driver_part,1,$d),$(newline))    NULL,
};

const char *const driver_names[] = {
$(foreach d,$(driver-y) $(driver-) $(driver-n),    "$(call driver_part,2,$d)",$(newline))    NULL,
};

const char *const driver_device_names[] = {
$(foreach k,$(sort $(foreach d,$(driver-y) $(driver-) $(driver-n),$(call driver_part,3,$d))),    "$k",$(newline))    NULL,
};

const struct port_kind *const port_kinds[] = {
$(foreach p,$(port-y),    &$(call driver_part,1,$p),$(newline))    NULL,
};

const struct port_absent ports_absent[] = {
$(foreach p,$(port-) $(port-n),    {"$(call driver_part,2,$p):", "$(call driver_part,3,$p)"},$(newline))    {NULL, NULL},
};
endef

$(GEN)/drivers.c: FORCE
	$(call generate,drivers_c)

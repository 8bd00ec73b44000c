# SPDX-License-Identifier: Apache-2.0
obj-y += $(if $(CONFIG_SYSTEMD),gateway/notify_systemd.o,gateway/notify_none.o)
obj-y += gateway/ops/status.o
obj-y += gateway/ops/event.o
obj-y += gateway/ops/health.o
obj-y += gateway/ops/health_form.o
obj-y += gateway/ops/control.o
obj-y += gateway/ops/control_path.o
obj-y += gateway/ops/control_requests.o
service-y += service_health
service-y += service_control
obj-y += gateway/ops/sys.o
obj-y += gateway/ops/sys_load.o
service-y += service_sys

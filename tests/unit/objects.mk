# SPDX-License-Identifier: Apache-2.0
# Programs of cmocka, in the order of the layers that they test. Sorted by name within a layer.
test-y += test_base
test-y += test_bridge_pace
test-y += test_bridge_remap
test-y += test_bridge_settings
test-y += test_conf
test-y += test_crypto
test-y += test_ctl
test-y += test_health
test-y += test_mqtt_packets
test-y += test_mqtt_robust
test-y += test_mqtt_statements
test-y += test_mqtt_topics
test-$(CONFIG_SIM) += test_sim
test-$(CONFIG_SIM) += test_sim_fault
test-$(CONFIG_SIM) += test_sim_line
test-$(CONFIG_SIM) += test_sim_slave

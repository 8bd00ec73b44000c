# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/codec/mqtt_frame.o
obj-y += gateway/codec/mqtt_decode.o
obj-y += gateway/codec/mqtt_encode.o
obj-y += gateway/codec/mqtt_props.o
obj-y += gateway/codec/mqtt_reason.o
obj-y += gateway/codec/mqtt_topic.o
obj-y += gateway/codec/mqtt_utf8.o

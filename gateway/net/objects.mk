# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/net/net.o gateway/net/conn.o gateway/net/lanes.o gateway/net/connect.o gateway/net/stream.o gateway/net/listener.o
obj-y += gateway/net/address.o gateway/net/proxy.o gateway/net/proxy_layer.o
obj-$(CONFIG_WEBSOCKET) += gateway/net/http.o gateway/net/ws.o gateway/net/ws_layer.o
ifneq ($(CONFIG_WEBSOCKET),y)
obj-y += gateway/net/ws_none.o
endif
feature-$(CONFIG_WEBSOCKET) += protocol=http:CONFIG_WEBSOCKET
obj-$(CONFIG_TLS) += gateway/net/tls.o gateway/net/tls_layer.o gateway/net/tls_words.o
ifneq ($(CONFIG_TLS),y)
obj-y += gateway/net/tls_none.o
endif
feature-$(CONFIG_TLS) += tls:CONFIG_TLS

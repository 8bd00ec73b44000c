# SPDX-License-Identifier: Apache-2.0
obj-y += gateway/broker/alias.o gateway/broker/broker.o gateway/broker/share.o gateway/broker/client.o gateway/broker/client_connect.o gateway/broker/client_deliver.o gateway/broker/client_write.o gateway/broker/deliveries.o gateway/broker/message.o gateway/broker/queue.o gateway/broker/replay.o gateway/broker/retain.o \
	gateway/broker/router.o gateway/broker/session.o
obj-y += gateway/broker/notes.o gateway/broker/ports.o gateway/broker/service.o gateway/broker/starts.o
obj-y += gateway/broker/acl.o gateway/broker/acl_view.o gateway/broker/users.o gateway/broker/auth.o gateway/broker/auth_cache.o \
	gateway/broker/auth_client.o gateway/broker/auth_password.o gateway/broker/auth_places.o gateway/broker/auth_realm.o \
	gateway/broker/auth_service.o
service-y += service_auth service_broker
